// Spectra as a small chart: both dates, and the range of most of the scene behind them.

import { digits } from "./page.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 360;
const HEIGHT = 132;
const EDGE = { left: 44, right: 10, top: 8, bottom: 22 };

function draw(tag, attributes, text) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

export function chart({ bands, spectra, usual }) {
  const dates = Object.entries(spectra);
  const values = [...dates.flatMap(([, each]) => each), ...usual.low, ...usual.high].filter(
    (value) => value !== null,
  );
  if (!values.length) return "";
  const low = Math.min(...values);
  const high = Math.max(...values);
  const step = bands.length > 1 ? (WIDTH - EDGE.left - EDGE.right) / (bands.length - 1) : 0;
  const x = (index) => EDGE.left + (step ? index * step : (WIDTH - EDGE.left) / 2);
  const y = (value) =>
    EDGE.top + (HEIGHT - EDGE.top - EDGE.bottom) * (1 - (value - low) / (high - low || 1));
  const svg = draw("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", class: "chart" });
  svg.setAttribute("aria-label", describe(bands, dates));
  for (const value of [low, (low + high) / 2, high]) {
    svg.append(draw("line", { x1: EDGE.left, x2: WIDTH - EDGE.right, y1: y(value), y2: y(value), class: "rule" }));
    svg.append(draw("text", { x: EDGE.left - 6, y: y(value) + 3.5, "text-anchor": "end" }, digits(value, 2)));
  }
  const every = Math.ceil(bands.length / 8);
  bands.forEach((band, index) => {
    if (index % every) return;
    const name = band.replace("band ", "");
    svg.append(draw("text", { x: x(index), y: HEIGHT - 7, "text-anchor": "middle" }, name.slice(0, 8)));
  });
  const corners = [
    ...usual.high.map((value, index) => [index, value]),
    ...usual.low.map((value, index) => [index, value]).reverse(),
  ].filter(([, value]) => value !== null);
  svg.append(draw("polygon", { points: points(corners, x, y), class: "usual" }));
  for (const [name, each] of dates) {
    const known = each.map((value, index) => [index, value]).filter(([, value]) => value !== null);
    svg.append(draw("polyline", { points: points(known, x, y), class: `curve ${name}` }));
    for (const [index, value] of known) {
      // Two shapes, so that the dates are told apart without their colours.
      svg.append(
        name === "before"
          ? draw("circle", { cx: x(index), cy: y(value), r: 3, class: name })
          : draw("rect", { x: x(index) - 3, y: y(value) - 3, width: 6, height: 6, class: name }),
      );
    }
  }
  return svg;
}

function points(corners, x, y) {
  return corners.map(([index, value]) => `${x(index).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
}

function describe(bands, dates) {
  const line = ([name, each]) =>
    `${name}: ${each.map((value, index) => `${bands[index]} ${digits(value)}`).join(", ")}`;
  return `Spectra. ${dates.map(line).join(". ")}.`;
}

export function key(dates) {
  const words = dates.includes("before") ? ["before", "after"] : ["after"];
  const names = { before: "before", after: dates.includes("before") ? "after" : "here" };
  const caption = document.createElement("figcaption");
  for (const word of words) {
    const item = document.createElement("span");
    item.className = `key ${word}`;
    item.textContent = names[word];
    caption.append(item);
  }
  const usual = document.createElement("span");
  usual.className = "key usual";
  usual.textContent = "two thirds of the scene";
  caption.append(usual);
  return caption;
}
