// Small things that every part of the page needs.

export const $ = (id) => document.getElementById(id);

export function make(tag, { text, ...attributes } = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null) element.setAttribute(name, value);
  }
  if (text !== undefined) element.textContent = text;
  element.append(...children);
  return element;
}

const plain = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 });

export function digits(value, count = 3) {
  if (!Number.isFinite(value)) return "–";
  return new Intl.NumberFormat(undefined, { maximumSignificantDigits: count }).format(value);
}

export function whole(value) {
  return plain.format(value);
}

export function area(properties) {
  const { area_m2: m2, pixels } = properties;
  if (m2 === null) return `${whole(pixels)} px`;
  if (m2 < 10_000) return `${digits(m2)} m²`;
  return m2 < 1e6 ? `${digits(m2 / 1e4)} ha` : `${digits(m2 / 1e6)} km²`;
}

export function place(x, y, placed) {
  if (!placed) return `${Math.floor(-y)}, ${Math.floor(x)}`;
  return `${y.toFixed(4)}, ${x.toFixed(4)}`;
}

let hide = 0;

export function trouble(error) {
  const box = $("trouble");
  box.textContent = error.message;
  box.hidden = false;
  clearTimeout(hide);
  hide = setTimeout(() => (box.hidden = true), 9000);
}
