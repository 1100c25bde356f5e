// What is looked at and how: in the address, so that it can be shared, and remembered for the next visit.
//
//   #session=ID  or  #past=ID    nothing: the newest live session
//   clock=wall  span=30 (or all)  range=12.5,14     the time axis; a range is a pause
//   show=state.qpos,…  hide=…              fields that are (not) shown, beside those that are by default
//   off=state.qpos:1.3;…  log=state.qpos,…  large=front.data,…
//   map=depth.data:turbo;…  scale=depth.data:0.5~4;…

const KEPT = "recd-view";
const LISTS = ["show", "hide", "log", "large"];
const WRITE_MS = 400; // browsers refuse an address that changes with every move of a finger

export class View {
  constructor() {
    this.session = null;
    this.past = null;
    this.clock = "sim";
    this.span = 10;
    this.all = false; // from the oldest sample that there is
    this.range = null;
    this.lists = Object.fromEntries(LISTS.map((name) => [name, new Set()]));
    this.off = new Map(); // field -> set of lines
    this.maps = new Map(); // field -> colour map
    this.scales = new Map(); // field -> values with the first and the last colour
    this.listeners = [];
    const text = location.hash.slice(1) || localStorage.getItem(KEPT) || "";
    this.read(text, !location.hash);
    this.written = -Infinity;
    window.addEventListener("pagehide", () => this.write());
    window.addEventListener("hashchange", () => {
      if (location.hash.slice(1) !== this.text()) {
        clearTimeout(this.writing);
        this.read(location.hash.slice(1));
        this.tell();
      }
    });
  }

  get paused() {
    return this.range !== null;
  }

  onChange(listener) {
    this.listeners.push(listener);
  }

  /** Change something, write it to the address, and tell all who listen. */
  change(changes = {}) {
    Object.assign(this, changes);
    clearTimeout(this.writing);
    const wait = this.written + WRITE_MS - performance.now();
    if (wait <= 0) this.write();
    else this.writing = setTimeout(() => this.write(), wait);
    this.tell();
  }

  write() {
    this.written = performance.now();
    const text = this.text();
    history.replaceState(null, "", text ? `#${text}` : location.pathname);
    localStorage.setItem(KEPT, text);
  }

  tell() {
    for (const listener of this.listeners) listener(this);
  }

  /** Put a name into one of the lists, or take it out. */
  toggle(list, name, on = !this.lists[list].has(name)) {
    this.lists[list][on ? "add" : "delete"](name);
    this.change();
  }

  linesOff(field) {
    return this.off.get(field) ?? new Set();
  }

  setOff(field, lines) {
    if (lines.size) this.off.set(field, lines);
    else this.off.delete(field);
    this.change();
  }

  text() {
    const said = new URLSearchParams();
    if (this.session) said.set("session", this.session);
    if (this.past) said.set("past", this.past);
    if (this.clock !== "sim") said.set("clock", this.clock);
    if (this.all) said.set("span", "all");
    else if (this.span !== 10) said.set("span", this.span);
    if (this.range) said.set("range", this.range.map((v) => Number(v.toPrecision(14))).join(","));
    for (const name of LISTS) if (this.lists[name].size) said.set(name, [...this.lists[name]].join(","));
    if (this.off.size) said.set("off", [...this.off].map(([f, s]) => `${f}:${[...s].join(".")}`).join(";"));
    if (this.maps.size) said.set("map", [...this.maps].map(([f, m]) => `${f}:${m}`).join(";"));
    if (this.scales.size) said.set("scale", [...this.scales].map(([f, s]) => `${f}:${s.join("~")}`).join(";"));
    return said.toString();
  }

  /** Take over what an address says; of a remembered one, neither which session nor when. */
  read(text, remembered = false) {
    const said = new URLSearchParams(text);
    this.session = remembered ? null : said.get("session");
    this.past = remembered ? null : said.get("past");
    this.clock = said.get("clock") === "wall" ? "wall" : "sim";
    this.span = Math.min(Math.max(Number(said.get("span")) || 10, 0.01), 1e6);
    this.all = said.get("span") === "all";
    const range = remembered ? [] : (said.get("range") ?? "").split(",").map(Number);
    this.range = range.length === 2 && range[0] < range[1] ? range : null;
    for (const name of LISTS) this.lists[name] = new Set((said.get(name) ?? "").split(",").filter(Boolean));
    const pairs = (name) =>
      (said.get(name) ?? "")
        .split(";")
        .filter((p) => p.includes(":"))
        .map((p) => [p.slice(0, p.lastIndexOf(":")), p.slice(p.lastIndexOf(":") + 1)]);
    this.off = new Map(pairs("off").map(([f, s]) => [f, new Set(s.split(".").map(Number))]));
    this.maps = new Map(pairs("map"));
    const scales = pairs("scale").map(([f, s]) => [f, s.split("~").map(Number)]);
    this.scales = new Map(scales.filter(([, s]) => s.length === 2 && s[0] < s[1]));
  }
}
