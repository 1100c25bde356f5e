// The WebSocket: comes back by itself, says again what is wanted, and tells the server when a round is drawn.

import { unpack } from "./messages.js";

const HARD_MS = 12;
const REST_MS = 1000;
const PAUSES_MS = [200, 500, 1000, 2000];

export class Link {
  /** `handlers`: state, events, data (may give a promise), error, up (is it connected), draw (before a round is told as drawn). */
  constructor(handlers) {
    this.handlers = handlers;
    this.view = null;
    this.failures = 0;
    this.rested = 0; // until when nothing new is wanted
    this.decoding = []; // pictures of this round
    this.open();
  }

  open() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    this.socket = new WebSocket(`${scheme}://${location.host}/live`);
    this.socket.binaryType = "arraybuffer";
    this.socket.onopen = () => {
      this.failures = 0;
      this.handlers.up(true);
      if (this.view) this.say(this.view);
    };
    this.socket.onmessage = ({ data }) => this.take(data);
    this.socket.onclose = () => {
      this.handlers.up(false);
      const pause = PAUSES_MS[Math.min(this.failures, PAUSES_MS.length - 1)];
      this.failures += 1;
      setTimeout(() => this.open(), pause);
    };
  }

  take(data) {
    if (typeof data !== "string") {
      this.decoding.push(this.handlers.data(unpack(data)));
      return;
    }
    const message = JSON.parse(data);
    if (message.type !== "round") {
      this.handlers[message.type]?.(message);
      return;
    }
    const decoded = Promise.all(this.decoding);
    this.decoding = [];
    decoded.then(() => this.draw(message.round, this.socket));
  }

  /**
   * A hidden page draws nothing, says nothing, and so is sent nothing. One to which drawing is hard work says so later:
   * the rest of its time is for whoever uses it.
   */
  draw(round, socket) {
    requestAnimationFrame(() => {
      const began = performance.now();
      this.handlers.draw();
      const say = () => socket.readyState === WebSocket.OPEN && socket.send(JSON.stringify({ op: "drawn", round }));
      setTimeout(() => { // plots are drawn behind this frame's scripts
        const now = performance.now();
        const rest = now - began > HARD_MS ? Math.min(3 * (now - began), REST_MS) : 0;
        this.rested = Math.max(this.rested, now) + rest; // never before an earlier round
        setTimeout(say, this.rested - now);
      });
    });
  }

  /** What the page wants to see, all of it; said again after each reconnect. */
  want(view) {
    const text = JSON.stringify(view);
    if (this.view && JSON.stringify(this.view) === text) return;
    this.view = view;
    this.say(view);
  }

  say(message) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }
}
