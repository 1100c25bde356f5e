// One field as lines over time, with a legend that tells values and switches lines.

import uPlot from "./vendor/uplot.js";
import { css, dash, stroke } from "./colours.js";
import { el, setText } from "./dom.js";
import { clockTime, number, tick } from "./format.js";
import { Lines } from "./lines.js";
import { marks } from "./marks.js";
import { touch } from "./touch.js";

const HEIGHT = 210;
const LEGEND_MS = 100;
const DENSE = 1.6; // points for each pixel
const MANY = 40; // of more lines nobody sees each pixel, and drawing them takes its time
const STEP_PX = 64; // the server's pixels change in such steps, not with every drag of the window

export class PlotCard {
  /** `wanted`: key, stream (its key at the server), field (name, unit, labels); `board`: window(), view, … */
  constructor(wanted, board) {
    Object.assign(this, wanted);
    this.board = board;
    this.visible = false;
    this.epoch = 0;
    this.legendAt = 0;
    this.events = [];
    this.playhead = null;
    this.log = el("button", { type: "button", className: "small", textContent: "log", "aria-label": "log scale" });
    this.log.onclick = () => board.view.toggle("log", this.key);
    const close = el("button", { type: "button", className: "small", textContent: "×", "aria-label": `Hide ${this.key}` });
    close.onclick = () => board.setShown(this.key, false);
    const name = el("h3", {}, el("span", { className: "of", textContent: `${this.streamName}.` }), this.field.name);
    const unit = this.field.unit ? el("span", { className: "unit", textContent: this.field.unit }) : null;
    this.place = el("div", { className: "plot" });
    this.legend = el("div", { className: "legend", role: "group", "aria-label": `Lines of ${this.key}` });
    this.problems = el("div", { role: "status" });
    this.element = el(
      "section",
      { className: "card", "aria-label": `Plot of ${this.key}` },
      el("div", { className: "bar" }, name, unit, el("span", { className: "fill" }), this.log, close),
      this.place,
      this.legend,
      this.problems,
    );
    this.build();
  }

  /** Lines that are shown. */
  get shown() {
    const off = this.board.view.linesOff(this.key);
    return this.field.labels.map((_, i) => i).filter((i) => !off.has(i));
  }

  /** What the server is asked for. */
  request() {
    const { shown } = this;
    const pixels = Math.max(this.place.clientWidth, 100) * (shown.length > MANY ? 0.5 : devicePixelRatio);
    const width = Math.ceil(pixels / STEP_PX) * STEP_PX;
    return { id: this.key, stream: this.stream, field: this.field.name, lines: shown, width };
  }

  /** Build the plot anew: after another choice of lines, scale, theme or clock. */
  build() {
    const view = this.board.view;
    this.made = this.style();
    this.plot?.destroy();
    const shown = this.shown;
    this.lines = new Lines(shown.length);
    const logarithmic = view.lists.log.has(this.key);
    this.log.setAttribute("aria-pressed", logarithmic);
    const axis = { stroke: css("--dim"), grid: { stroke: css("--grid"), width: 1 }, ticks: { stroke: css("--grid"), size: 4 } };
    axis.font = "11px system-ui, sans-serif";
    this.plot = new uPlot(
      {
        width: Math.max(this.place.clientWidth, 100),
        height: HEIGHT,
        pxAlign: 0,
        padding: [8, 16, 0, 0],
        legend: { show: false },
        focus: { alpha: 0.25 },
        cursor: {
          focus: { prox: shown.length > 1 ? 12 : -1 },
          sync: { key: "recd", scales: ["x", null] },
          drag: { x: true, y: false, setScale: false },
          bind: { dblclick: () => () => this.board.goLive(), mousedown: (u, t, handler) => (e) => this.press(e, handler) },
          points: { size: 6, show: shown.length <= 12 },
        },
        scales: {
          x: { time: this.board.isWall(), range: () => this.board.window() },
          // Both signs have a place on this scale; near zero it is linear.
          y: logarithmic ? { distr: 4, asinh: 0.01 } : { range: (u, low, high) => padded(low, high) },
        },
        axes: [
          { ...axis, size: 26, space: 80, values: (u, splits, a, s, step) => splits.map((v) => (this.board.isWall() ? clockTime(v, step) : `${tick(v)} s`)) },
          { ...axis, size: 58, space: 34, values: (u, splits) => splits.map(tick) },
        ],
        series: [{}, ...shown.map((i) => ({ label: this.field.labels[i], stroke: stroke(i), dash: dash(i, shown.length) }))],
        plugins: [marks(() => this.placed(), this)],
        hooks: {
          setSelect: [(u) => this.select(u)],
          setCursor: [() => this.tellValues(true)],
          setSeries: [(u, i) => this.mark(i)],
        },
      },
      this.lines.data(),
      this.place,
    );
    touch(this.plot.over, this.board);
    this.plot.over.addEventListener("wheel", (e) => this.wheel(e), { passive: false });
    this.buildLegend();
  }

  /** What a plot must be built anew for. */
  style() {
    const { view } = this.board;
    return [this.shown.join(), view.lists.log.has(this.key), this.board.isWall(), document.documentElement.dataset.theme].join("|");
  }

  buildLegend() {
    const off = this.board.view.linesOff(this.key);
    this.legend.replaceChildren();
    this.values = [];
    this.field.labels.forEach((label, i) => {
      const value = el("span", { className: "value" });
      const swatch = el("span", { className: "swatch" });
      swatch.style.setProperty("--line", stroke(i));
      if (dash(i, this.shown.length)) swatch.classList.add("dashed");
      const short = this.field.labels.length > 1 ? label.slice(this.field.name.length) : label;
      const entry = el("button", { type: "button", className: "entry", "aria-pressed": !off.has(i), title: label }, swatch, short, value);
      entry.onclick = (e) => this.toggle(i, e.altKey || e.ctrlKey || e.metaKey);
      this.legend.append(entry);
      this.values.push({ value, entry });
    });
  }

  /** Switch a line; alone: show it and no other, or all again. */
  toggle(line, alone) {
    const off = new Set(this.board.view.linesOff(this.key));
    if (alone) {
      const others = this.field.labels.map((_, i) => i).filter((i) => i !== line);
      const isAlone = others.every((i) => off.has(i)) && !off.has(line);
      this.board.view.setOff(this.key, new Set(isAlone ? [] : others));
      return;
    }
    if (!off.delete(line)) off.add(line);
    this.board.view.setOff(this.key, off);
  }

  /** After the view has changed. */
  refresh() {
    if (this.style() !== this.made) this.build();
    this.resize();
  }

  resize() {
    const width = this.place.clientWidth;
    if (width && width !== this.plot.width) this.plot.setSize({ width, height: HEIGHT });
  }

  /** Points came. */
  take({ head, x, ys }) {
    if (head.lines !== this.lines.count) return; // asked for before a line was switched
    this.epoch = head.epoch;
    this.lines.take(x, ys, head.from, head.holes);
    this.dirty = true;
  }

  /** What of a past recording is not in the plot, as it cannot be read. */
  tellProblems(problems) {
    const lines = problems.map((problem) => `▲ ${problem}`);
    if (this.problems.textContent !== lines.join("")) this.problems.replaceChildren(...lines.map((textContent) => el("p", { className: "none", textContent })));
  }

  draw() {
    if (!this.visible) return;
    this.lines.cut(this.board.window()[0]);
    // Thick lines that go up and down in each pixel take long to draw, and look like thin ones.
    const thin = this.lines.rows > DENSE * this.place.clientWidth * devicePixelRatio || this.shown.length > 12;
    for (const s of this.plot.series.slice(1)) s.width = thin ? 1 / devicePixelRatio : 1.5;
    this.plot.setData(this.lines.data());
    this.dirty = false;
    this.tellValues(false);
  }

  /** Events of the stream, with their places on this axis. */
  placed() {
    const wall = this.board.isWall();
    const { events, epoch } = this;
    if (this.placedOf?.events !== events || this.placedOf.wall !== wall || this.placedOf.epoch !== epoch) {
      const clock = wall ? "wall" : "sim";
      const placed = events
        .filter((e) => wall || e.seq === undefined || e.seq >= epoch)
        .map((e) => ({ ...e, x: e[clock], from: e.from?.[clock], to: e.to?.[clock] }))
        .sort((a, b) => a.x - b.x);
      this.placedOf = { events, wall, epoch, placed };
    }
    return this.placedOf.placed;
  }

  /** The values under the cursor, else the newest, in the legend. */
  tellValues(now) {
    const time = performance.now();
    if (!now && time - this.legendAt < LEGEND_MS) {
      this.legendTimer ??= setTimeout(() => this.tellValues(true), LEGEND_MS);
      return;
    }
    clearTimeout(this.legendTimer);
    this.legendTimer = null;
    this.legendAt = time;
    const at = this.plot?.cursor.idx;
    const hovers = at !== null && at !== undefined && this.plot.cursor.left >= 0;
    this.legend.classList.toggle("hovers", hovers);
    this.shown.forEach((line, i) => {
      const value = hovers ? this.lines.ys[i]?.[at] : this.lines.last(i);
      setText(this.values[line].value, number(value));
    });
  }

  /** The line that the cursor is near. */
  mark(index) {
    const shown = this.shown;
    this.values?.forEach(({ entry }, line) => entry.classList.toggle("near", index > 0 && shown[index - 1] === line));
  }

  // --- zoom and pan -----------------------------------------------------------------------------

  select(u) {
    if (u.select.width < 4) return;
    const [begin, end] = [u.select.left, u.select.left + u.select.width].map((px) => u.posToVal(px, "x"));
    u.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
    this.board.setRange(begin, end);
  }

  /** Shift and drag moves the time axis; a click moves a video there. */
  press(event, handler) {
    if (!event.shiftKey) {
      if (event.button === 0) this.board.clicked(this.plot.posToVal(event.offsetX, "x"));
      handler(event);
      return;
    }
    const [begin, end] = this.board.window();
    const perPixel = (end - begin) / this.plot.over.clientWidth;
    const from = event.clientX;
    const move = (e) => this.board.setRange(begin - (e.clientX - from) * perPixel, end - (e.clientX - from) * perPixel);
    const up = () => document.removeEventListener("mousemove", move);
    document.addEventListener("mousemove", move);
    document.addEventListener("mouseup", up, { once: true });
  }

  wheel(event) {
    const sideways = Math.abs(event.deltaX) > Math.abs(event.deltaY);
    if (!event.ctrlKey && !event.metaKey && !sideways) return; // the page scrolls
    event.preventDefault();
    if (sideways) this.board.move(event.deltaX / this.plot.over.clientWidth);
    else this.board.zoom(Math.exp(event.deltaY / 300), this.plot.posToVal(event.offsetX, "x"));
  }

  destroy() {
    clearTimeout(this.legendTimer);
    this.plot.destroy();
    this.element.remove();
  }
}

/** Room above and below; a line that does not change lies in the middle. */
function padded(low, high) {
  if (low === null || low === undefined) return [0, 1];
  const room = high > low ? (high - low) * 0.08 : Math.max(Math.abs(low) * 0.1, 0.5);
  return [low - room, high + room];
}
