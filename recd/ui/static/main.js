// The page: what is live comes over the WebSocket, what is past is fetched; both are shown on one board.

import { actions as acting } from "./actions.js";
import { Board } from "./board.js";
import { byId, el, setText } from "./dom.js";
import { emptiness, showEmpty } from "./empty.js";
import { counted, count, duration, lostCount } from "./format.js";
import { newAlerts, showHappened } from "./happened.js";
import { keys } from "./keys.js";
import { Link } from "./link.js";
import { Past } from "./past.js";
import { complaints, showLive, showPast } from "./sidebar.js";
import { View } from "./view.js";

const SPANS = [2, 5, 10, 30, 60, 300, 1800, 7200];
const PAST_MS = 5000;

const view = new View();
const board = new Board(view, () => ask());
const past = new Past(board);
let state = { running: true, sessions: [], first: true };
let listed = { sessions: [], omitted: 0 };
let shownSession = null; // whose cards are on the board
let shownPast = null;
const streams = new Map(); // of that session, by name
let connected = false;
const events = new Map(); // stream -> events

// --- theme: before anything is drawn ------------------------------------------------------------

const dark = matchMedia("(prefers-color-scheme: dark)");
function setTheme(name) {
  document.documentElement.dataset.theme = name ?? (dark.matches ? "dark" : "light");
}
setTheme(localStorage.getItem("recd-theme"));
dark.addEventListener("change", () => {
  setTheme(localStorage.getItem("recd-theme"));
  view.tell();
});

// --- what is live -------------------------------------------------------------------------------

const link = new Link({
  up(is) {
    connected = is;
    if (!is) setText(byId("status"), state.first ? "connecting …" : "▲ no connection to recd ui: trying again …");
    byId("status").classList.toggle("wrong", !is);
  },
  state(told) {
    state = told;
    tell();
  },
  events({ stream, events: new_ }) {
    const all = [...(events.get(stream) ?? []), ...new_].sort((a, b) => a.wall - b.wall).slice(-1000);
    events.set(stream, all);
    for (const card of board.cards.values()) if (card.stream === stream) card.events = all;
  },
  data: (message) => board.take(message),
  draw: () => board.draw(),
  error: ({ what }) => console.error(what),
});

/** The session that is looked at: the chosen one, else the one that began last. */
function current() {
  const chosen = state.sessions.find((s) => s.session === view.session);
  return chosen ?? (view.session ? null : (state.sessions.at(-1) ?? null));
}

/** Everything that the state and the view say. */
function tell() {
  tellOnTop();
  const session = current();
  const somethingElse = view.past || (!session && shownSession); // what has ended stays
  showEmpty(somethingElse ? "" : emptiness(state, session, view.session));
  showHappened(view.past ? past.happened() : session, board);
  for (const name of ["mark-open", "stop-open"]) byId(name).disabled = !session || Boolean(view.past) || session.state === "finishing";
  if (!view.past) showSession(session);
  showLive(state, view.past ? null : session?.session, (id) => choose({ session: id === state.sessions.at(-1)?.session ? null : id, past: null }), board);
  showPast(listed, view.past, (id) => choose({ session: null, past: id }));
  const lost = state.sessions.flatMap((s) => s.streams).reduce((sum, s) => sum + lostCount(s.lost), 0);
  document.title = `${lost ? "▲ " : ""}${session ? `${session.name} · ` : ""}recd`;
  if (!connected) return;
  const live = state.sessions.length;
  const told = !state.running ? "recd does not run" : live ? `${counted(live, "session")} live · ${lost ? `▲ ${count(lost)} lost` : "nothing lost"}` : "nothing is being recorded";
  setText(byId("status"), told);
  byId("status").classList.toggle("wrong", lost > 0);
  byId("status").classList.toggle("live", live > 0);
}

/** What is wrong, in red; then the newest alerts. */
function tellOnTop() {
  const wrong = complaints(state.sessions).map((text) => ["", `▲ ${text}`]);
  const alerts = newAlerts(state).map((text) => ["alert", `◆ ${text}`]);
  const more = (n, className) => n > 0 && [className, `… and ${n} more`];
  const shown = [...wrong.slice(0, 6), more(wrong.length - 6, ""), ...alerts.slice(0, 3), more(alerts.length - 3, "alert")].filter(Boolean);
  const place = byId("alerts");
  const text = JSON.stringify(shown);
  if (place.dataset.text === text) return;
  place.dataset.text = text;
  place.replaceChildren(...shown.map(([className, textContent]) => el("p", { className, textContent })));
}

function showSession(session) {
  if (shownPast) {
    past.close();
    shownPast = null;
  }
  if (!session) {
    if (shownSession && listed.sessions.some((s) => s.session === shownSession && s.state !== "live")) {
      ended(shownSession);
    }
    return;
  }
  if (session.session !== shownSession) {
    board.clear();
    streams.clear();
    byId("summary").replaceChildren();
    shownSession = session.session;
  }
  // Streams that are finished stay to be looked at, until the next recording.
  for (const s of session.streams) if (s.fields.length) streams.set(s.name, s);
  const fields = [...streams.values()].flatMap((s) => s.fields.map((field) => ({ key: `${s.name}.${field.name}`, stream: s.key, streamName: s.name, field })));
  const text = JSON.stringify(fields.map((f) => [f.key, f.field.type]));
  if (text !== showSession.text || !board.fields.length) {
    showSession.text = text;
    board.setFields(fields);
    for (const card of board.cards.values()) card.events = events.get(card.stream) ?? [];
  }
}

/** The recording that was looked at has ended: what was seen stays, and the way to its files is shown. */
function ended(session) {
  const summary = byId("summary");
  if (summary.dataset.ended === session && summary.childElementCount) return;
  summary.dataset.ended = session;
  const open = el("button", { type: "button", textContent: "Look at the recording" });
  open.onclick = () => choose({ session: null, past: session });
  summary.replaceChildren(el("p", { className: "ended", textContent: "This recording has ended. " }, open));
}

function choose(changes) {
  byId("sidebar").classList.remove("open");
  byId("menu").setAttribute("aria-expanded", "false");
  view.change({ range: null, ...changes });
}

/** What the visible cards need is asked for. */
function ask() {
  if (view.past) {
    past.ask();
    link.want({ op: "view", clock: view.clock, span: view.span, range: null, plots: [], pictures: [] });
    return;
  }
  const { plots, pictures } = board.requests();
  link.want({ op: "view", clock: view.clock, span: board.span(), range: view.range, plots, pictures: view.paused ? [] : pictures });
}

// --- controls -----------------------------------------------------------------------------------

byId("span").append(...SPANS.map((s) => el("option", { value: s, textContent: s < 60 ? `${s} s` : s < 3600 ? `${s / 60} min` : `${s / 3600} h` })), el("option", { value: "all", textContent: "all" }));

function showControls() {
  const { paused } = view;
  const pause = byId("pause");
  setText(pause, view.past ? "whole" : paused ? "▶ live" : "❚❚ pause");
  pause.setAttribute("aria-pressed", paused);
  pause.disabled = Boolean(view.past) && !paused;
  document.body.classList.toggle("paused", paused && !view.past);
  document.body.classList.toggle("looks-back", Boolean(view.past));
  byId("clock").value = view.past ? "sim" : view.clock;
  byId("clock").disabled = byId("span").disabled = Boolean(view.past);
  const span = byId("span");
  span.querySelector("[data-other]")?.remove();
  if (!SPANS.includes(view.span)) span.append(el("option", { value: view.span, textContent: duration(view.span), "data-other": "" }));
  span.value = view.all ? "all" : view.span;
}

const acts = acting(() => (view.past ? null : current()));

function setSpan(value) {
  view.change({ range: null, all: value === "all", ...(value === "all" ? {} : { span: Number(value) }) });
}

const actions = {
  ...acts,
  all: () => view.past || setSpan(view.all ? view.span : "all"),
  pause: () => (view.paused || view.past ? board.goLive() : board.pause()),
  clock: () => view.change({ clock: view.clock === "sim" ? "wall" : "sim", range: null }),
  theme() {
    setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
    localStorage.setItem("recd-theme", document.documentElement.dataset.theme);
    view.tell();
  },
  sidebar() {
    byId("menu").setAttribute("aria-expanded", byId("sidebar").classList.toggle("open"));
  },
  help: () => byId("help").showModal(),
};
byId("pause").onclick = actions.pause;
byId("theme").onclick = actions.theme;
byId("menu").onclick = actions.sidebar;
byId("help-open").onclick = actions.help;
byId("clock").onchange = () => actions.clock();
byId("mark-open").onclick = actions.mark;
byId("stop-open").onclick = actions.stop;
byId("span").onchange = () => setSpan(byId("span").value);
keys(board, actions);

// --- what is past -------------------------------------------------------------------------------

async function list() {
  try {
    listed = await past.list();
    tell();
  } catch {
    // no connection; the status says so
  }
}
list();
setInterval(() => document.hidden || !connected || list(), PAST_MS);

// --- the view has changed -----------------------------------------------------------------------

let clock = view.clock;
view.onChange(async () => {
  if (view.clock !== clock) {
    clock = view.clock;
    board.newest = null;
  }
  showControls();
  if (view.past && view.past !== shownPast) {
    shownPast = view.past;
    shownSession = null;
    await past.open(view.past);
  }
  if (board.fields.length) {
    board.arrange();
    board.draw();
  }
  tell();
  ask();
});
view.tell();
