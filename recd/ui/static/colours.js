// Colours of lines: told apart by eyes of every kind (after Okabe and Ito), darker or lighter as the page is.

const LIGHT = ["#0072b2", "#c14d00", "#00795a", "#a8417e", "#7a5c00", "#3d9be0", "#5b5b5b"];
const DARK = ["#56b4e9", "#ff9e4a", "#2fc79a", "#f19ccb", "#f0e442", "#5b86ff", "#bdbdbd"];
// After the colours have gone round once, lines are dashed.
const DASHES = [undefined, [8, 4], [2, 3], [10, 3, 2, 3]];

export const isDark = () => document.documentElement.dataset.theme === "dark";

export function stroke(line) {
  const table = isDark() ? DARK : LIGHT;
  return table[line % table.length];
}

export const dash = (line, lines) =>
  lines > 40 ? undefined : DASHES[Math.floor(line / LIGHT.length) % DASHES.length];

const known = new Map(); // theme and name -> value: every plot asks for many, whenever it is drawn

/** A colour of style.css, as the theme has it. */
export function css(name) {
  const key = `${document.documentElement.dataset.theme} ${name}`;
  if (!known.has(key)) known.set(key, getComputedStyle(document.documentElement).getPropertyValue(name).trim());
  return known.get(key);
}
