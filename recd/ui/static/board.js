// The cards of what is looked at, and their common time axis.

import { byId, el, keyed } from "./dom.js";
import { PictureCard } from "./picturecard.js";
import { PlotCard } from "./plotcard.js";

// What is shown without being asked for; the rest is one click away.
const PLOTS = 12;
const PICTURES = 4;

export class Board {
  /** `changed`: called when other things are to be asked for. */
  constructor(view, changed) {
    this.view = view;
    this.onChanged = changed;
    this.cards = new Map();
    this.fields = [];
    this.newest = null; // of all plots: where the live axis ends
    this.asked = 0; // seconds that the server was asked for, to show all
    this.whole = null; // of a past recording: where it begins and ends
    this.clicked = () => {};
    this.watch = new IntersectionObserver((seen) => this.see(seen), { rootMargin: "200px" });
    new ResizeObserver(() => this.changed()).observe(byId("board"));
  }

  isWall() {
    return this.view.clock === "wall" && !this.whole;
  }

  /** Begin and end of the time axis. */
  window() {
    if (this.view.range) return this.view.range;
    if (this.whole) return this.whole;
    const end = this.newest ?? 0;
    return [this.view.all ? Math.min(this.oldest(), end - 1) : end - this.view.span, end];
  }

  /** Time of the oldest sample of any plot. */
  oldest() {
    let found = this.newest ?? 0;
    for (const card of this.cards.values()) if (card.oldest !== undefined) found = Math.min(found, card.oldest);
    return found;
  }

  /** Seconds that the server is to send; to show all, somewhat more, so that it is seldom asked anew. */
  span() {
    if (!this.view.all) return this.view.span;
    const [begin, end] = this.window();
    if (!(end - begin <= this.asked && this.asked < 2 * (end - begin))) this.asked = 1.25 * (end - begin);
    return this.asked;
  }

  /** `fields`: key, stream, streamName, field, in their order. */
  setFields(fields) {
    this.fields = fields.filter(({ field }) => field.kind !== "other");
    this.arrange();
  }

  /** What is looked at is another thing altogether. */
  clear() {
    for (const card of this.cards.values()) card.destroy();
    this.cards.clear();
    this.fields = [];
    this.newest = this.whole = null;
    this.asked = 0;
  }

  isShown(key) {
    const { show, hide } = this.view.lists;
    return show.has(key) || (this.byDefault.has(key) && !hide.has(key));
  }

  setShown(key, on) {
    const { show, hide } = this.view.lists;
    show.delete(key);
    hide.delete(key);
    if (on !== this.byDefault.has(key)) (on ? show : hide).add(key);
    this.view.change();
  }

  /** The cards are those that are to be shown. */
  arrange() {
    const first = (kind, most) => this.fields.filter((f) => f.field.kind === kind).slice(0, most);
    this.byDefault = new Set([...first("lines", PLOTS), ...first("picture", PICTURES)].map((f) => f.key));
    const shown = this.fields.filter((f) => this.isShown(f.key));
    const keys = new Set(shown.map((f) => f.key));
    for (const [key, card] of this.cards) {
      if (!keys.has(key)) {
        card.destroy();
        this.cards.delete(key);
      }
    }
    for (const [kind, place] of [["picture", "pictures"], ["lines", "plots"]]) {
      const these = shown.filter((f) => f.field.kind === kind);
      keyed(byId(place), these, (f) => f.key, (f) => this.make(f).element);
      for (const card of these.map((f) => this.cards.get(f.key))) card.refresh();
    }
    this.tellMore();
    this.changed();
  }

  make(wanted) {
    const card = wanted.field.kind === "picture" ? new PictureCard(wanted, this) : new PlotCard(wanted, this);
    this.cards.set(wanted.key, card);
    card.element.card = card;
    this.watch.observe(card.element);
    return card;
  }

  /** What is not shown, to be had by a click. */
  tellMore() {
    const hidden = this.fields.filter((f) => !this.isShown(f.key));
    const add = (f) => {
      const button = el("button", { type: "button", className: "entry", textContent: `+ ${f.key}` });
      button.onclick = () => this.setShown(f.key, true);
      return button;
    };
    byId("more").replaceChildren(...(hidden.length ? [el("h3", { textContent: "Not shown" }), ...hidden.map(add)] : []));
  }

  see(entries) {
    for (const { target, isIntersecting } of entries) if (target.card) target.card.visible = isIntersecting;
    this.changed();
  }

  changed() {
    for (const card of this.cards.values()) card.resize();
    this.onChanged();
  }

  /** The visible plots and pictures, as the server is asked for them. */
  requests() {
    const seen = [...this.cards.values()].filter((c) => c.visible);
    const of = (kind) => seen.filter((c) => c instanceof kind).map((c) => c.request());
    return { plots: of(PlotCard), pictures: of(PictureCard) };
  }

  take(message) {
    const card = this.cards.get(message.head.id);
    if (!card) return undefined;
    if (message.head.kind === "plot" && !this.whole) {
      const { newest, from } = message.head;
      // Stream time may have gone back: the axis follows what is drawn anew.
      this.newest = this.newest === null || from === null ? newest : Math.max(this.newest, newest);
      card.oldest = message.head.oldest;
      card.before = message.head.before;
      const { asked } = this;
      if (this.view.all && this.span() !== asked) this.onChanged();
    }
    return card.take(message);
  }

  /** Every plot, as they have one time axis, and every picture. */
  draw() {
    for (const card of this.cards.values()) card.draw();
  }

  // --- the time axis ----------------------------------------------------------------------------

  setRange(begin, end) {
    if (!(end > begin)) return;
    this.view.change({ range: [begin, end] });
    this.draw();
  }

  pause() {
    const [begin, end] = this.window();
    this.setRange(begin, end);
  }

  goLive() {
    this.view.change({ range: null });
    this.draw();
  }

  zoom(factor, at) {
    const [begin, end] = this.window();
    if (!this.view.range && !this.whole) {
      if (this.view.all) this.view.change({ all: false, span: end - begin });
      this.view.change({ span: Math.min(Math.max(this.view.span * factor, 0.05), 1e6) });
      return;
    }
    const middle = at ?? (begin + end) / 2;
    this.setRange(middle - (middle - begin) * factor, middle + (end - middle) * factor);
  }

  /** By a part of what is shown. */
  move(part) {
    const [begin, end] = this.window();
    const by = (end - begin) * part;
    this.setRange(begin + by, end + by);
  }

  /** A mark from outside, in the middle of what is shown. */
  lookAt(mark) {
    const placed = [...this.cards.values()].flatMap((c) => c.events ?? []).find((e) => e.mark === mark.n);
    const at = this.isWall() ? mark.wall_ns / 1e9 : (placed?.sim ?? mark.t);
    if (!Number.isFinite(at)) return;
    const [begin, end] = this.window();
    const half = this.view.all && !this.view.range ? 5 : (end - begin) / 2;
    this.setRange(at - half, at + half);
  }
}
