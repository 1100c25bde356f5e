// The two things that this page may do to a recording: set a mark, and stop it.

import { byId, el } from "./dom.js";

const SAID_MS = 6000;
let silence;

/** Say shortly what has happened; a screen reader reads it. */
export function say(text) {
  const place = byId("said");
  place.textContent = text;
  place.hidden = false;
  clearTimeout(silence);
  silence = setTimeout(() => (place.hidden = true), SAID_MS);
}

/** JSON, which no form of another site can send. */
async function post(path, body) {
  let answer;
  try {
    answer = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  } catch {
    throw new Error("no connection to recd ui");
  }
  const told = await answer.json().catch(() => ({ what: `refused (${answer.status})` }));
  if (!answer.ok) throw new Error([told.what, told.do].filter(Boolean).join(". "));
  return told;
}

/** A dialog whose `go` does something with the session that was live as it was opened; errors are said in it. */
function asking(dialog, act) {
  const error = dialog.querySelector("[role=alert]");
  const go = dialog.querySelector("[value=go]");
  let session;
  dialog.querySelector("form").onsubmit = async (event) => {
    if (event.submitter?.value !== "go") return;
    event.preventDefault();
    go.disabled = true;
    error.textContent = "";
    try {
      await act(session);
      dialog.close();
    } catch (e) {
      error.textContent = e.message;
    } finally {
      go.disabled = false;
    }
  };
  return (about) => {
    session = about;
    error.textContent = "";
    for (const name of dialog.querySelectorAll(".session-name")) name.textContent = about.name;
    dialog.showModal();
  };
}

/** `current()`: the live session that is looked at, or null. Returns what opens the dialogs. */
export function actions(current) {
  const label = byId("mark-label");
  const openMark = asking(byId("mark"), async (session) => {
    const { mark } = await post("/mark", { session: session.session, label: label.value.trim() });
    remember(label.value.trim());
    say(`Marked ${session.name}: ${mark?.label ?? label.value}`);
  });
  const openStop = asking(byId("stop"), async (session) => {
    await post("/stop", { session: session.session });
    say(`${session.name} is stopped; its files are being finished.`);
  });
  return {
    mark() {
      const session = current();
      if (!session) return say("Nothing is being recorded that could be marked.");
      openMark(session);
      label.select();
      return undefined;
    },
    stop() {
      const session = current();
      if (session) openStop(session);
    },
  };
}

/** The labels that were used are offered again. */
function remember(label) {
  const list = byId("mark-labels");
  if (![...list.options].some((o) => o.value === label)) list.prepend(el("option", { value: label }));
}
