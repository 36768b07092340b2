// How things are said on the page, and how elements are made without markup.

export const $ = (id) => document.getElementById(id);

/** An element with properties and children; text goes in as text, never as markup. */
export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** A copy of the one element of a <template>. */
export function copyOf(id) {
  return $(id).content.firstElementChild.cloneNode(true);
}

/**
 * Make `rows` the children of a list. One that is in its place is not touched: moving it
 * would take the focus from it, or the click that is half done.
 */
export function arrange(list, rows) {
  rows.forEach((row, index) => {
    if (list.children[index] !== row) list.insertBefore(row, list.children[index] || null);
  });
  while (list.children.length > rows.length) list.lastElementChild.remove();
}

export const count = (number) => number.toLocaleString("en");

export const plural = (number, word) => `${count(number)} ${word}${number === 1 ? "" : "s"}`;

export function squareKilometres(value) {
  if (value >= 100) return `${count(Math.round(value))} km²`;
  if (value >= 0.1) return `${value.toPrecision(3)} km²`;
  return `${count(Math.round(value * 1e6))} m²`;
}

export function duration(seconds) {
  if (seconds < 10) return `${Math.max(1, Math.round(seconds))} s`;
  if (seconds < 50) return `${Math.round(seconds / 5) * 5} s`;
  if (seconds < 5400) return `${Math.max(1, Math.round(seconds / 60))} min`;
  return `${(seconds / 3600).toPrecision(2)} h`;
}

export function pixels(number) {
  if (number < 1e4) return `${count(number)} pixels`;
  return number < 1e6 ? `${Math.round(number / 1e3)} thousand pixels` : `${(number / 1e6).toPrecision(3)} million pixels`;
}

/** A moment as somebody says it who has today's date in mind. */
export function moment(text) {
  const time = new Date(text);
  const hours = time.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  const today = time.toDateString() === new Date().toDateString();
  return today ? hours : `${time.toLocaleDateString([], { dateStyle: "medium" })}, ${hours}`;
}

export const clock = (text) => new Date(text).toLocaleTimeString([], { hour12: false });
