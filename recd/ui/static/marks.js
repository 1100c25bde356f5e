// What happened on the timeline, drawn behind and over the lines: episodes, marks, losses, the playhead of a video.

import { css } from "./colours.js";
import { count } from "./format.js";
import { nameOf } from "./happened.js";

const RESET = "recd.reset";
const DISCARD = "recd.discard";
const FONT = "px system-ui, sans-serif";
const CLOSE_PX = 12;
const BEFORE = { reading: "◂ reading the log …", gone: "◂ earlier: no longer in the log" };
// Marks of the simulation, from outside, alerts, losses: told apart by colour, line and sign.
const STYLES = {
  mark: { line: "--mark", text: "--dim", dash: [4, 4], width: 1, sign: "" },
  outside: { line: "--outside", text: "--outside", dash: [8, 3, 2, 3], width: 1.5, sign: "⚑ " },
  alert: { line: "--alert", text: "--alert", dash: [], width: 2, sign: "◆ " },
  loss: { line: "--loss", text: "--loss", dash: [], width: 3, sign: "▲ " },
};

/** What an event is called, in few words. */
function title(event) {
  if (event.kind === "loss") return `${count(event.lost)} lost`;
  return event.label === RESET ? "reset" : event.label === DISCARD ? "discarded" : (event.about ? "≈ " : "") + nameOf(event);
}

const wholeReset = (e) => e.kind === "mark" && e.label === RESET && !e.fields?.envs_idx;

/** A plugin for uPlot; `eventsOf()` gives events with their place `x`, in its order; `card` the rest. */
export function marks(eventsOf, card) {
  return {
    hooks: {
      drawClear: (u) => behind(u, eventsOf()),
      draw: (u) => {
        lines(u, eventsOf());
        if (card.playhead !== null) line(u, card.playhead, css("--ink"), [], 2);
        edge(u, card);
      },
    },
  };
}

/** Every second episode has a shade; what is lost is red. */
function behind(u, events) {
  const ends = events.filter(wholeReset).map((e) => e.x);
  const edges = [-Infinity, ...ends, Infinity];
  for (let i = 1; i < edges.length - 1; i += 2) band(u, edges[i], edges[i + 1], css("--band"));
  for (const e of events) if (e.kind === "loss" && e.to > e.from) band(u, e.from, e.to, css("--gap"));
}

function band(u, from, to, colour) {
  const { ctx, bbox, scales } = u;
  const left = Math.max(u.valToPos(Math.max(from, scales.x.min), "x", true), bbox.left);
  const right = Math.min(u.valToPos(Math.min(to, scales.x.max), "x", true), bbox.left + bbox.width);
  if (!(right > left)) return;
  ctx.save();
  ctx.fillStyle = colour;
  ctx.fillRect(left, bbox.top, right - left, bbox.height);
  ctx.restore();
}

function lines(u, events) {
  // Where the labels of each row end, as they do not lie on each other; the first row is the simulation's.
  const ends = [-Infinity, -Infinity, -Infinity];
  const { min, max } = u.scales.x;
  const seen = events.filter((e) => STYLES[e.kind] && e.x >= min && e.x <= max).map((e) => ({ ...STYLES[e.kind], event: e }));
  // Many marks of the simulation close together are only hinted at.
  const faint = seen.length > u.bbox.width / (CLOSE_PX * devicePixelRatio);
  for (const s of seen) s.at = line(u, s.event.x, css(s.line), s.dash, s.width, faint && s.event.kind === "mark" ? 0.3 : 1);
  for (const s of seen) text(u, s.sign + title(s.event), s.at, ends, s.event.kind === "mark" ? [0] : [1, 2], css(s.text));
}

/** A label beside a line, within the plot, in the first of these rows where there is room. */
function text(u, label, at, ends, rows, colour) {
  const { ctx, bbox } = u;
  const ratio = devicePixelRatio;
  ctx.save();
  ctx.font = `${rows[0] ? "bold " : ""}${11 * ratio}${FONT}`;
  ctx.textBaseline = "top";
  ctx.textAlign = "left";
  const { width } = ctx.measureText(label);
  const right = bbox.left + bbox.width - width;
  const left = at + 3 * ratio <= right ? at + 3 * ratio : at - width - 3 * ratio; // at the edge: on the other side
  const row = rows.find((r) => left >= ends[r]);
  if (row !== undefined && left >= bbox.left) {
    const top = bbox.top + (2 + 13 * row) * ratio;
    ctx.fillStyle = css("--veil");
    ctx.fillRect(left - ratio, top - ratio, width + 2 * ratio, 13 * ratio);
    ctx.fillStyle = colour;
    ctx.fillText(label, left, top);
    ends[row] = left + width + 8 * ratio;
  }
  ctx.restore();
}

/** Left of the oldest sample: whether earlier ones may still come. */
function edge(u, card) {
  if (!BEFORE[card.before] || !(card.oldest > u.scales.x.min + 0.02 * (u.scales.x.max - u.scales.x.min))) return;
  const { ctx, bbox } = u;
  const ratio = devicePixelRatio;
  ctx.save();
  ctx.font = `${11 * ratio}${FONT}`;
  ctx.fillStyle = css("--dim");
  ctx.textBaseline = "bottom";
  ctx.textAlign = "left";
  ctx.fillText(BEFORE[card.before], bbox.left + 4 * ratio, bbox.top + bbox.height - 3 * ratio);
  ctx.restore();
}

function line(u, x, colour, dash, width, alpha = 1) {
  const at = u.valToPos(x, "x", true);
  const { ctx, bbox } = u;
  if (at < bbox.left || at > bbox.left + bbox.width) return at;
  ctx.save();
  ctx.globalAlpha = alpha;
  ctx.strokeStyle = colour;
  ctx.lineWidth = width * devicePixelRatio;
  ctx.setLineDash(dash.map((d) => d * devicePixelRatio));
  ctx.beginPath();
  ctx.moveTo(at, bbox.top);
  ctx.lineTo(at, bbox.top + bbox.height);
  ctx.stroke();
  ctx.restore();
  return at;
}
