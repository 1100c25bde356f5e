// A stream's rate over the last half minute, as a line of a few pixels.

const STATES = 60; // one comes each half second
const WIDTH = 60;
const HEIGHT = 14;
const SVG = "http://www.w3.org/2000/svg";

/** A picture to be updated; what it shows stands beside it as a number. */
export function makeSpark() {
  const svg = document.createElementNS(SVG, "svg");
  const attributes = { class: "spark", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, width: WIDTH, height: HEIGHT, "aria-hidden": "true" };
  for (const [name, value] of Object.entries(attributes)) svg.setAttribute(name, value);
  svg.append(document.createElementNS(SVG, "polyline"));
  svg.rates = [];
  return svg;
}

export function showSpark(svg, rate) {
  svg.rates = [...svg.rates, rate].slice(-STATES);
  const top = Math.max(...svg.rates, 1e-9);
  const x = (i) => WIDTH - (svg.rates.length - 1 - i) * (WIDTH / (STATES - 1));
  const points = svg.rates.map((r, i) => `${x(i).toFixed(1)},${(HEIGHT - 1.5 - (r / top) * (HEIGHT - 3)).toFixed(1)}`);
  svg.firstChild.setAttribute("points", points.join(" "));
}
