// A recording that has ended: its plots from its files, its videos, and where its files are.

import { byId, el } from "./dom.js";
import { bytes, count, counted, duration, localTime, losses } from "./format.js";
import { unpack } from "./messages.js";

const PAUSE_MS = 60;

export class Past {
  constructor(board) {
    this.board = board;
    this.told = null;
    this.asked = new Map(); // what each plot was asked for last
  }

  async list() {
    const answer = await fetch("/past");
    return answer.ok ? answer.json() : { sessions: [], omitted: 0 };
  }

  /** Look at a recording; false if it cannot be. */
  async open(session) {
    const answer = await fetch(`/past/${encodeURIComponent(session)}`);
    const told = await answer.json();
    if (!answer.ok) {
      this.close();
      byId("summary").replaceChildren(el("p", { className: "none", textContent: `${told.what}. ${told.do}` }));
      return false;
    }
    this.told = told;
    this.asked.clear();
    const { board } = this;
    board.clear();
    byId("videos").replaceChildren();
    const times = told.streams.flatMap((s) => [s.t_first, s.t_last]).filter((t) => t !== null && t !== undefined);
    board.whole = times.length ? [Math.min(...times), Math.max(...times)] : [0, 1];
    if (board.whole[0] === board.whole[1]) board.whole[1] += 1;
    this.summarise(told);
    board.setFields(told.streams.flatMap((s) => s.fields.map((field) => ({ key: `${s.name}.${field.name}`, stream: s.name, streamName: s.name, field }))));
    for (const card of board.cards.values()) card.events = this.eventsOf(card.streamName);
    this.showVideos(told);
    return true;
  }

  close() {
    this.told = null;
    this.board.clear();
    byId("videos").replaceChildren();
    byId("summary").replaceChildren();
  }

  /** Alerts and marks from outside, as those of a live session. */
  happened() {
    const marks = this.told?.marks.filter((m) => m.source) ?? [];
    return { marks, marks_total: marks.length };
  }

  eventsOf(name) {
    const kinds = { alert: "alert", outside: "outside" };
    const marks = this.told.marks.map((m) => ({ kind: kinds[m.source] ?? "mark", mark: m.n, about: m.about, label: m.label, fields: m.fields, sim: m.t }));
    const stream = this.told.streams.find((s) => s.name === name);
    const gaps = (stream?.gaps ?? []).map((g) => ({ kind: "loss", lost: g.count, sim: g.t_last ?? g.t_first, from: { sim: g.t_first }, to: { sim: g.t_last } }));
    return [...marks, ...gaps].filter((e) => Number.isFinite(e.sim)).sort((a, b) => a.sim - b.sim);
  }

  summarise(told) {
    const lost = told.streams.filter((s) => losses(s.lost)).map((s) => `${s.name}: lost ${losses(s.lost)}`);
    const files = told.streams.flatMap((s) => s.files.map((f) => [s, f]));
    const [began, took] = [[told.started_unix_s, localTime], [told.duration_s, duration]].map(([s, text]) => (s === null ? "" : text(s)));
    const facts = [began, took, counted(told.streams.length, "stream"), told.state];
    const link = (f) =>
      f.presence === "missing"
        ? el("span", { textContent: `${f.name} (missing)` })
        : el("a", { href: this.url(f), textContent: f.name, download: f.name });
    byId("summary").replaceChildren(
      el("h2", { textContent: told.name }),
      el("p", { className: "facts", textContent: facts.filter(Boolean).join(" · ") }),
      el("p", { className: lost.length ? "loss" : "facts", textContent: lost.length ? `▲ ${lost.join("; ")}` : "nothing lost" }),
      told.state === "unfinished" ? el("p", { className: "facts", textContent: `It was killed, and is shown from its log. What finishes its files: recd recover ${told.path}` }) : "",
      ...told.problems.map((problem) => el("p", { className: "loss", textContent: `▲ ${problem}` })),
      el("details", {},
        el("summary", { textContent: `${counted(files.length, "file")} in ${told.path}` }),
        el("ul", {}, ...files.map(([s, f]) => el("li", {}, link(f), ` ${s.name}, ${f.samples === null ? "unfinished" : counted(f.samples, "sample")}, ${bytes(f.bytes)}`))),
      ),
    );
  }

  url(file) {
    return `/past/${encodeURIComponent(this.told.session)}/file/${file.number}`;
  }

  /** Videos run with the plots: a click on a plot goes there, and a line shows where the video is. */
  showVideos(told) {
    const place = byId("videos");
    const videos = [];
    for (const stream of told.streams) {
      for (const file of stream.files.filter((f) => f.video && f.presence !== "missing")) {
        const video = el("video", { src: this.url(file), controls: true, preload: "metadata", muted: true, "aria-label": `Video ${file.name}` });
        const failed = el("p", { className: "none", hidden: true, textContent: `This browser does not play ${file.codec ?? "this codec"}; download it above.` });
        video.onerror = () => {
          failed.hidden = false;
          video.hidden = true;
        };
        const start = stream.t_first ?? 0;
        const tell = () => {
          for (const card of this.board.cards.values()) card.playhead = start + video.currentTime;
          this.board.draw();
        };
        for (const name of ["timeupdate", "seeking"]) video.addEventListener(name, tell);
        if (!file.part) videos.push([video, start]);
        place.append(el("section", { className: "card picture", "aria-label": `Video ${file.name}` },
          el("div", { className: "bar" }, el("h3", { textContent: file.name })), el("div", { className: "frame" }, video), failed));
      }
    }
    this.board.clicked = (t) => {
      for (const [video, start] of videos) if (Number.isFinite(video.duration)) video.currentTime = Math.min(Math.max(t - start, 0), video.duration);
    };
  }

  /** Ask for what the visible plots need now, a moment later, so that a drag asks once. */
  ask() {
    if (!this.told) return;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.askNow(), this.asked.size ? PAUSE_MS : 0);
  }

  askNow() {
    const [begin, end] = this.board.window();
    for (const request of this.board.requests().plots) {
      const said = new URLSearchParams({ ...request, from: begin, to: end }).toString();
      if (this.asked.get(request.id) === said) continue;
      this.asked.set(request.id, said);
      this.fetch(request, said);
    }
  }

  async fetch(request, said) {
    const answer = await fetch(`/past/${encodeURIComponent(this.told.session)}/plot?${said}`);
    const card = this.board.cards.get(request.id);
    if (!card || this.asked.get(request.id) !== said) return; // something else is wanted by now
    if (!answer.ok) {
      const { what } = await answer.json();
      card.place.replaceChildren(el("p", { className: "none", textContent: what }));
      return;
    }
    const message = unpack(await answer.arrayBuffer());
    card.take(message);
    card.tellProblems(message.head.problems);
    requestAnimationFrame(() => card.draw());
  }
}
