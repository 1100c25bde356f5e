// What came from outside onto the timeline: the alerts, said on top while they are new, and a list of them and of marks.

import { byId, el, keyed, setText } from "./dom.js";
import { clockTime, counted } from "./format.js";

const RECENT_S = 60;
const GLYPH = { alert: "◆", outside: "⚑" };

const value = (v) => (typeof v === "number" ? String(Number(v.toPrecision(6))) : typeof v === "string" ? v : JSON.stringify(v));

/** What an alert or a mark is called: of an alert, its condition. */
export function nameOf({ label, fields }) {
  if (!fields?.condition) return label;
  return label === "alert" ? fields.condition : `${label}: ${fields.condition}`;
}

/** What else it says: `0.19`, or `force 12.5`. */
function valueOf({ fields }) {
  const { condition, value: found, seen, held_back: held, ...rest } = fields ?? {};
  if (!condition) return pairs(fields ?? {});
  return [seen ? pairs(seen) : value(found ?? ""), pairs(rest), held && `${held} more held back`].filter(Boolean).join(", ");
}

const pairs = (fields) =>
  Object.entries(fields)
    .filter(([, v]) => v !== null)
    .map(([k, v]) => `${k} ${value(v)}`)
    .join(", ");

const when = (mark) => clockTime(mark.wall_ns / 1e9, 1);
const said = (mark) => [nameOf(mark), valueOf(mark)].filter(Boolean).join(": ");

/** The lines on top: each alert of the last minute once, as it was last told, the newest first. */
export function newAlerts(state) {
  const recent = state.sessions
    .flatMap((s) => (s.marks ?? []).filter((m) => m.source === "alert").map((m) => [s, m]))
    .filter(([, m]) => state.now_unix_s - m.wall_ns / 1e9 < RECENT_S)
    .sort(([, a], [, b]) => b.wall_ns - a.wall_ns);
  const told = new Map(); // where and what -> the newest, and how many
  for (const [s, m] of recent) {
    const where = `${s.name}${m.stream ? ` / ${m.stream}` : ""}: ${nameOf(m)}`;
    told.set(where, { newest: m, ...told.get(where), times: (told.get(where)?.times ?? 0) + 1 });
  }
  return [...told].map(([where, { newest, times }]) => {
    const more = times > 1 ? `, ${times} times in a minute` : "";
    return `${[where, valueOf(newest)].filter(Boolean).join(": ")}, at ${when(newest)}${more}`;
  });
}

/** The list of a session's alerts and marks, newest first; a click on a time goes there. */
export function showHappened(session, board) {
  const place = byId("happened");
  const marks = [...(session?.marks ?? [])].sort((a, b) => b.wall_ns - a.wall_ns);
  place.hidden = !marks.length;
  if (!marks.length) return;
  const alerts = marks.filter((m) => m.source === "alert").length;
  const parts = [alerts && counted(alerts, "alert"), marks.length - alerts && counted(marks.length - alerts, "mark")];
  const more = session.marks_total > marks.length ? ` of ${counted(session.marks_total, "mark")} in all` : "";
  setText(byId("happened-told"), `${parts.filter(Boolean).join(" and ")}${more} · newest ${when(marks[0])} ${said(marks[0])}`);
  keyed(byId("happened-rows"), marks, (m) => String(m.n), (m) => row(m, board));
}

function row(mark, board) {
  const go = el("button", { type: "button", className: "small", textContent: when(mark), "aria-label": `Go to ${when(mark)}` });
  go.onclick = () => board.lookAt(mark);
  return el(
    "tr",
    { className: mark.source },
    el("td", {}, go),
    el("td", { textContent: `${GLYPH[mark.source] ?? ""} ${nameOf(mark)}` }),
    el("td", { textContent: valueOf(mark) }),
    el("td", { textContent: mark.stream ?? "" }),
  );
}
