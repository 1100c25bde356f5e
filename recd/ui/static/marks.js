// What happened on the timeline, drawn behind and over the lines: episodes, marks, losses, the playhead of a video.

import { css } from "./colours.js";
import { count } from "./format.js";

const RESET = "recd.reset";
const DISCARD = "recd.discard";
const FONT = "11px system-ui, sans-serif";

/** What a mark is called, and its fields. */
export function title(event) {
  if (event.kind === "loss") return `${count(event.lost)} lost`;
  const name = event.label === RESET ? "reset" : event.label === DISCARD ? "discarded" : event.label;
  const fields = Object.entries(event.fields ?? {}).filter(([, v]) => v !== null);
  return fields.length ? `${name} (${fields.map(([k, v]) => `${k}: ${JSON.stringify(v)}`).join(", ")})` : name;
}

const wholeReset = (e) => e.kind === "mark" && e.label === RESET && !e.fields?.envs_idx;

/** A plugin for uPlot; `eventsOf()` gives events with their place `x`, `playhead()` a place or null. */
export function marks(eventsOf, playhead) {
  return {
    hooks: {
      drawClear: (u) => bands(u, eventsOf()),
      draw: (u) => {
        lines(u, eventsOf());
        const at = playhead();
        if (at !== null) line(u, at, css("--ink"), [], 2);
      },
    },
  };
}

/** Every second episode has a shade. */
function bands(u, events) {
  const ends = events.filter(wholeReset).map((e) => e.x);
  if (!ends.length) return;
  const edges = [-Infinity, ...ends, Infinity];
  const { ctx, bbox } = u;
  ctx.save();
  ctx.fillStyle = css("--band");
  for (let i = 1; i < edges.length - 1; i += 2) {
    const from = Math.max(u.valToPos(edges[i], "x", true), bbox.left);
    const to = Math.min(u.valToPos(Math.min(edges[i + 1], u.scales.x.max), "x", true), bbox.left + bbox.width);
    if (to > from) ctx.fillRect(from, bbox.top, to - from, bbox.height);
  }
  ctx.restore();
}

function lines(u, events) {
  let labelled = -Infinity; // labels do not lie on each other
  for (const event of events) {
    if (event.kind === "close" || event.x < u.scales.x.min || event.x > u.scales.x.max) continue;
    const lost = event.kind === "loss";
    const at = line(u, event.x, css(lost ? "--loss" : "--mark"), lost ? [] : [4, 4], lost ? 3 : 1);
    if (at < labelled) continue;
    const { ctx, bbox } = u;
    const ratio = devicePixelRatio;
    const text = lost ? `▲ ${title(event)}` : title(event).replace(/ \(.*/, "");
    ctx.save();
    ctx.font = `${lost ? "bold " : ""}${11 * ratio}px ${FONT.slice(5)}`;
    ctx.fillStyle = css(lost ? "--loss" : "--dim");
    ctx.textBaseline = "top";
    ctx.textAlign = "left";
    const width = ctx.measureText(text).width;
    const inside = Math.min(at + 3 * ratio, bbox.left + bbox.width - width);
    ctx.fillText(text, inside, bbox.top + 2 * ratio);
    ctx.restore();
    labelled = at + width + 8 * ratio;
  }
}

function line(u, x, colour, dash, width) {
  const at = u.valToPos(x, "x", true);
  const { ctx, bbox } = u;
  if (at < bbox.left || at > bbox.left + bbox.width) return at;
  ctx.save();
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
