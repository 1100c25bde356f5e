// What to do where there is nothing to see.

import { byId, el } from "./dom.js";

const code = (text) => el("code", { textContent: text });

/** Why there is nothing to see: a key of TEXTS, or empty. `chosen`: a session was asked for by its name. */
export function emptiness(state, session, chosen) {
  if (state.first) return "";
  if (session) return session.streams.some((s) => s.fields.length) ? "" : "waiting";
  if (!state.running) return "away";
  return chosen ? "over" : "none";
}

/** Say it in place of the plots, and what to do. */
export function showEmpty(kind) {
  const place = byId("empty");
  if (place.dataset.kind === kind) return;
  place.dataset.kind = kind;
  place.hidden = !kind;
  place.replaceChildren(...(kind ? TEXTS[kind]() : []));
}

const start = () => [
  el("p", {}, "A recording begins when a simulation makes one:"),
  el("pre", {}, code('from recd_client import Recorder, NPZFile\n\nwith Recorder("walk") as rec:\n    state = rec.stream("state", NPZFile("state.npz"))\n    state.write({"qpos": qpos}, t=t)')),
  el("p", {}, "No simulation at hand? ", code("recd demo --seconds 60"), " records one that is built in. What is recorded next appears here by itself."),
];

const TEXTS = {
  away: () => [el("h2", { textContent: "recd does not run" }), el("p", {}, "It starts by itself with the first recording, or with ", code("recd start"), "."), ...start()],
  none: () => [el("h2", { textContent: "Nothing is being recorded" }), ...start()],
  over: () => [el("h2", { textContent: "This recording is not live" }), el("p", {}, "Choose another one, live or past, from the list of sessions.")],
  waiting: () => [el("h2", { textContent: "Waiting for the first sample" }), el("p", {}, "The recording has begun; its plots appear with what is written first.")],
};
