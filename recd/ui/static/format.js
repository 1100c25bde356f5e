// Numbers as people read them.

export function number(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e6) return String(value).replace("-", "−");
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(3).replace("-", "−");
  return value.toPrecision(size >= 1000 ? 7 : 5).replace("-", "−");
}

/** A time of day on an axis whose marks are `step` seconds apart. */
export function clockTime(unix, step) {
  if (unix === null || unix === undefined) return "";
  const time = localTime(Math.floor(unix + 1e-9)).slice(11);
  return step < 1 ? time + (unix + 1e-9 - Math.floor(unix + 1e-9)).toFixed(3).slice(1) : time;
}

/** A number on an axis: as short as it can be. */
export function tick(value) {
  if (value === null || value === undefined) return "";
  const size = Math.abs(value);
  const text = size !== 0 && (size < 1e-4 || size >= 1e7) ? value.toExponential() : String(Number(value.toPrecision(9)));
  return text.replace(/-/g, "−");
}

export const count = (n) => Math.round(n).toLocaleString("en");

export const counted = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

export function bytes(n) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let at = 0;
  while (n >= 999.5 && at < units.length - 1) {
    n /= 1000;
    at += 1;
  }
  return `${at === 0 || n >= 99.95 ? n.toFixed(0) : n.toFixed(1)} ${units[at]}`;
}

export function duration(seconds) {
  if (!(seconds >= 0)) return "";
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  const whole = Math.round(seconds);
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (n) => String(n).padStart(2, "0");
  return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

export const rate = (hz) => (hz >= 9.95 ? `${Math.round(hz)}/s` : `${hz.toFixed(1)}/s`);

export const localTime = (unix) => {
  const d = new Date(unix * 1000);
  const two = (n) => String(n).padStart(2, "0");
  const day = `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())}`;
  return `${day} ${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`;
};

/** Losses by cause: `12 full, 3 timeout`; empty without any. */
export const losses = (lost) =>
  Object.entries(lost ?? {})
    .filter(([, n]) => n)
    .map(([cause, n]) => `${count(n)} ${cause}`)
    .join(", ");

export const lostCount = (lost) => Object.values(lost ?? {}).reduce((a, b) => a + b, 0);
