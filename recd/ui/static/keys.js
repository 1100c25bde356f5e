// The keyboard.

import { byId, el } from "./dom.js";

export function keys(board, actions) {
  const table = [
    [" ", "Space", "pause, and on again", actions.pause],
    ["0", "0", "back to live, or to the whole recording", () => board.goLive()],
    ["ArrowLeft", "←", "earlier", () => board.move(-0.2)],
    ["ArrowRight", "→", "later", () => board.move(0.2)],
    ["+", "+", "closer", () => board.zoom(0.7)],
    ["-", "−", "farther", () => board.zoom(1 / 0.7)],
    ["a", "A", "all that there is, or the newest seconds", actions.all],
    ["m", "M", "set a mark on the recording", actions.mark],
    ["t", "T", "simulation time or wall time", actions.clock],
    ["d", "D", "dark or light", actions.theme],
    ["s", "S", "sessions and streams", actions.sidebar],
    ["?", "?", "this help", actions.help],
  ];
  byId("keys").append(...table.map(([, shown, does]) => el("tr", {}, el("th", { scope: "row" }, el("kbd", { textContent: shown })), el("td", { textContent: does }))));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    const tag = event.target.tagName;
    if (["INPUT", "SELECT", "TEXTAREA", "VIDEO"].includes(tag)) return;
    if (event.key === " " && ["BUTTON", "SUMMARY", "A"].includes(tag)) return; // it presses that
    const found = table.find(([key]) => key === event.key || key === event.key.toLowerCase());
    if (!found) return;
    event.preventDefault();
    found[3]();
  });
}
