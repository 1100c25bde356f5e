// One camera: the newest frame, as large as it is shown.

import { el, setText } from "./dom.js";
import { number } from "./format.js";

const MAPS = ["gray", "viridis", "magma", "cividis", "turbo"];
const STEP_PX = 80;

export class PictureCard {
  constructor(wanted, board) {
    Object.assign(this, wanted);
    this.board = board;
    this.visible = false;
    this.head = null;
    this.canvas = el("canvas", { role: "img", "aria-label": `Newest frame of ${this.key}` });
    const [height, width] = this.field.shape;
    this.canvas.width = width;
    this.canvas.height = height;
    const close = el("button", { type: "button", className: "small", textContent: "×", "aria-label": `Hide ${this.key}` });
    close.onclick = () => board.setShown(this.key, false);
    const large = el("button", { type: "button", className: "small", textContent: "⤢", "aria-label": `Enlarge ${this.key}`, "aria-pressed": false });
    large.onclick = () => board.view.toggle("large", this.key);
    this.large = large;
    const name = this.field.name === "data" ? this.streamName : this.key;
    this.told = el("p", { className: "told" });
    this.element = el(
      "section",
      { className: "card picture", "aria-label": `Camera ${name}` },
      el("div", { className: "bar" }, el("h3", { textContent: name }), el("span", { className: "fill" }), large, close),
      el("div", { className: "frame" }, this.canvas),
      this.field.colours ? null : this.buildScale(),
      el("div", { className: "foot" }, this.told, this.chooser()),
    );
  }

  get map() {
    return this.board.view.maps.get(this.key) ?? (this.field.bytes ? "gray" : "viridis");
  }

  /** For pictures of one channel: which colours. */
  chooser() {
    if (this.field.colours) return null;
    this.choice = el("select", { className: "small", "aria-label": `Colours of ${this.key}` }, ...MAPS.map((m) => el("option", { textContent: m, value: m })));
    this.choice.value = this.map;
    this.choice.onchange = () => {
      this.board.view.maps.set(this.key, this.choice.value);
      this.board.view.change();
    };
    return this.choice;
  }

  buildScale() {
    const end = (which) => {
      const input = el("input", { type: "number", step: "any", "aria-label": `${which} value of the colours of ${this.key}; empty: automatic` });
      input.onchange = () => this.setScale();
      return input;
    };
    this.low = end("Lowest");
    this.high = end("Highest");
    this.ramp = el("span", { className: "ramp" });
    const unit = this.field.unit ? el("span", { textContent: this.field.unit }) : null;
    return el("div", { className: "scale" }, this.low, this.ramp, this.high, unit);
  }

  /** One end is given: the other stays where it is now. One is emptied: both follow the picture again. */
  setScale() {
    const { scales } = this.board.view;
    const given = [this.low, this.high].map((input) => input.value.trim());
    const pair = given.map((text, i) => (text === "" ? this.head?.scale?.[i] : Number(text)));
    const automatic = given.every((text) => text === "") || (scales.has(this.key) && given.includes(""));
    const good = automatic || pair[0] < pair[1];
    if (automatic) scales.delete(this.key);
    else if (good) scales.set(this.key, pair);
    this.high.setCustomValidity(good ? "" : "The highest value must be above the lowest.");
    if (this.high.reportValidity()) this.board.view.change();
  }

  refresh() {
    if (this.choice) this.choice.value = this.map;
    const isLarge = this.board.view.lists.large.has(this.key);
    this.large.setAttribute("aria-pressed", isLarge);
    if (this.element.classList.toggle("large", isLarge) !== this.wasLarge) this.board.changed();
    this.wasLarge = isLarge;
    if (!this.ramp) return;
    this.ramp.dataset.map = this.map;
    const fixed = this.board.view.scales.get(this.key);
    for (const [i, input] of [this.low, this.high].entries()) if (document.activeElement !== input) input.value = fixed?.[i] ?? "";
  }

  request() {
    const pixels = Math.max(this.canvas.clientWidth, 80) * devicePixelRatio;
    const width = Math.min(Math.ceil(pixels / STEP_PX) * STEP_PX, this.field.shape[1]);
    return { id: this.key, stream: this.stream, field: this.field.name, width, map: this.map, scale: this.board.view.scales.get(this.key) ?? null };
  }

  /** A frame came: decoded beside, the newest is drawn. */
  async take({ head, bytes }) {
    const order = (this.order = (this.order ?? 0) + 1); // a frame that was decoded late is not drawn over a newer one
    let image;
    try {
      image = await createImageBitmap(new Blob([bytes], { type: "image/jpeg" }));
    } catch {
      return; // a damaged one; the next comes
    }
    if (order > (this.decoded ?? 0)) {
      this.decoded = order;
      this.image?.close();
      this.image = image;
      this.head = head;
      this.dirty = true;
    } else {
      image.close();
    }
  }

  draw() {
    if (!this.image || !this.dirty) return;
    const { canvas, image, head } = this;
    if (canvas.width !== image.width || canvas.height !== image.height) {
      canvas.width = image.width;
      canvas.height = image.height;
    }
    canvas.getContext("2d").drawImage(image, 0, 0);
    canvas.dataset.seq = head.seq;
    setText(this.told, `t = ${head.t.toFixed(2)} s · ${head.width}×${head.height}`);
    if (head.scale && this.ramp) {
      this.low.placeholder = number(head.scale[0]);
      this.high.placeholder = number(head.scale[1]);
    }
    this.dirty = false;
  }

  resize() {}

  destroy() {
    this.image?.close();
    this.element.remove();
  }
}
