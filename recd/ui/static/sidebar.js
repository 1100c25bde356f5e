// Sessions and streams, live and past, with what is lost said first.

import { byId, el, keyed, setText } from "./dom.js";
import { bytes, count, duration, localTime, losses, lostCount, rate } from "./format.js";
import { makeSpark, showSpark } from "./spark.js";

const HEALTHY = new Set(["recording", "finishing", "finished"]);

/** The lines of red on top: what is lost, what is not well, for a whole state. */
export function complaints(sessions) {
  const found = [];
  for (const session of sessions) {
    const before = found.length;
    for (const stream of session.streams) {
      const where = `${session.name} / ${stream.name}`;
      if (lostCount(stream.lost)) found.push(`${where}: lost ${losses(stream.lost)}`);
      if (!HEALTHY.has(stream.state) || stream.reason) found.push(`${where}: ${reason(stream)}`);
      for (const sink of stream.sinks) {
        if ((!HEALTHY.has(sink.state) || sink.reason) && sink.reason !== stream.reason) found.push(`${where} / ${sink.name}: ${reason(sink)}`);
      }
    }
    for (const alert of session.alerts ?? []) if (alert.reason) found.push(`${session.name} / alert ${alert.condition}: ${reason(alert)}`);
    // A session that is not well for no reason of its own repeats its worst stream.
    if (found.length === before && (!HEALTHY.has(session.state) || session.reason)) found.push(`${session.name}: ${reason(session)}`);
  }
  return found;
}

const reason = ({ state, reason: why }) => (why ? `${state}: ${why.replace("\n  -> ", ". To do: ")}` : state);

/** The live sessions; `choose(id)` looks at one. */
export function showLive(state, chosen, choose, board) {
  const place = byId("live");
  const none = state.running ? "Nothing is being recorded." : "recd does not run. It starts with the first recording.";
  if (!state.sessions.length) {
    place.replaceChildren(el("p", { className: "none", textContent: none }));
    return;
  }
  place.querySelector(".none")?.remove();
  keyed(place, state.sessions, (s) => s.session, () => makeSession(choose), (element, s) => {
    const name = element.firstChild;
    name.onclick = () => choose(s.session);
    name.setAttribute("aria-current", s.session === chosen);
    setText(name.querySelector(".name"), s.name);
    setText(name.querySelector(".state"), `${s.state} · ${duration(Date.now() / 1000 - s.started_unix_s)}`);
    element.classList.toggle("wrong", complaints([s]).length > 0);
    keyed(element.lastChild, s.streams, (t) => t.name, () => makeStream(), (row, t) => showStream(row, t, s.session === chosen, board));
  });
}

const makeSession = () =>
  el(
    "div",
    { className: "session" },
    el("button", { type: "button", className: "choose" }, el("span", { className: "name" }), el("span", { className: "state" })),
    el("ul", {}),
  );

const makeStream = () =>
  el(
    "li",
    {},
    el("span", { className: "dot" }),
    el("span", { className: "name" }),
    el("span", { className: "rate" }, makeSpark(), el("span")),
    el("span", { className: "lost" }),
    el("span", { className: "detail" }),
    el("span", { className: "fields" }),
  );

function showStream(row, stream, chosen, board) {
  const [dot, name, hz, lost, detail, fields] = row.children;
  const n = lostCount(stream.lost);
  row.dataset.state = n || !HEALTHY.has(stream.state) ? "wrong" : stream.rate > 0 ? "moving" : "still";
  dot.title = stream.state;
  setText(name, stream.name);
  if (stream !== row.told) showSpark(hz.firstChild, stream.rate); // once for each state, however often it is shown
  row.told = stream;
  setText(hz.lastChild, stream.rate > 0 ? rate(stream.rate) : stream.state === "recording" ? "no new samples" : stream.state);
  setText(lost, n ? `▲ ${count(n)} lost` : "");
  setText(detail, `${count(stream.written)} samples${stream.bytes ? ` · ${bytes(stream.bytes)}` : ""}`);
  detail.title = `waiting in memory ${bytes(stream.buffered_bytes)}, on disk ${bytes(stream.spooled_bytes)}`;
  fields.hidden = !chosen;
  if (!chosen || !board.byDefault) return;
  keyed(fields, stream.fields, (f) => f.name, (f) => makeField(f), (button, f) => {
    const key = `${stream.name}.${f.name}`;
    if (f.kind === "other") return;
    button.setAttribute("aria-pressed", board.isShown(key));
    button.onclick = () => board.setShown(key, !board.isShown(key));
  });
}

const makeField = (f) =>
  f.kind === "other"
    ? el("span", { className: "entry", textContent: f.name, title: `${f.type}: not drawn` })
    : el("button", { type: "button", className: "entry", textContent: f.name, title: f.type });

/** The past ones; `choose(id)` looks at one. */
export function showPast({ sessions, omitted }, chosen, choose) {
  const place = byId("past");
  const past = sessions.filter((s) => s.state !== "live");
  if (!past.length) {
    place.replaceChildren(el("p", { className: "none", textContent: "No recordings yet." }));
    return;
  }
  place.querySelectorAll(".none").forEach((e) => e.remove());
  keyed(place, past, (s) => s.session, () => el("button", { type: "button", className: "choose past" }, el("span", { className: "name" }), el("span", { className: "state" })), (button, s) => {
    setText(button.firstChild, s.name);
    const took = s.duration_s === null ? "" : ` · ${duration(s.duration_s)}`;
    setText(button.lastChild, `${localTime(s.started_unix_s)}${took}${s.state === "finished" ? "" : ` · ${s.state}`}`);
    button.classList.toggle("wrong", s.state === "failed" || s.state === "interrupted");
    button.disabled = s.state === "missing";
    button.setAttribute("aria-current", s.session === chosen);
    button.title = s.directory;
    button.onclick = () => choose(s.session);
  });
  if (omitted) place.append(el("p", { className: "none", textContent: `${count(omitted)} older ones: recd ls --all` }));
}
