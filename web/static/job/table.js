// The ranked table: ten thousand rows, of which those in sight exist.

import { $, area, digits, make, place, whole } from "./page.js";

const ROW = 30;
const MARGIN = 8;
const MARKS = { confirmed: "✓", dismissed: "✕" };
const ORDERS = {
  rank: (a, b) => a.id - b.id,
  peak: (a, b) => b.properties.peak - a.properties.peak || a.id - b.id,
  size: (a, b) => b.properties.pixels - a.properties.pixels || a.id - b.id,
};

export class Table {
  constructor(placed, { select, hover, judge }) {
    this.placed = placed;
    this.select = select;
    this.hover = hover;
    this.all = [];
    this.shown = [];
    this.order = "rank";
    this.selected = null;
    this.hovered = null;
    this.drawn = new Map();
    this.rows = $("rows");
    this.space = this.rows.querySelector(".space");
    this.rows.addEventListener("scroll", () => this.draw());
    this.rows.addEventListener("click", (event) => {
      const id = idOf(event);
      if (id) this.select(id, { fly: true, focus: true });
    });
    this.rows.addEventListener("mouseover", (event) => this.point(idOf(event)));
    this.rows.addEventListener("mouseleave", () => this.point(null));
    this.rows.addEventListener("keydown", (event) => this.key(event, judge));
    $("filter").addEventListener("change", () => this.sort());
    for (const button of $("grid").querySelectorAll("[data-sort]")) {
      button.addEventListener("click", () => this.sortBy(button));
    }
    new ResizeObserver(() => this.draw()).observe(this.rows);
  }

  fill(features) {
    this.all = features;
    this.sort();
  }

  sortBy(button) {
    this.order = button.dataset.sort;
    for (const header of $("grid").querySelectorAll("[aria-sort]")) header.removeAttribute("aria-sort");
    const direction = this.order === "rank" ? "ascending" : "descending";
    button.parentElement.setAttribute("aria-sort", direction);
    this.sort();
  }

  sort() {
    const wanted = $("filter").value;
    const fits = ({ properties: { verdict } }) =>
      wanted === "all" || (wanted === "open" ? !verdict : verdict === wanted);
    this.shown = this.all.filter(fits).sort(ORDERS[this.order]);
    $("count").textContent = whole(this.all.length);
    $("grid").setAttribute("aria-rowcount", this.shown.length + 1);
    $("none").hidden = this.shown.length > 0;
    $("none").textContent = this.all.length ? "None of these." : "Nothing is above this threshold.";
    this.space.style.height = `${this.shown.length * ROW}px`;
    this.clear();
    this.draw();
  }

  clear() {
    for (const row of this.drawn.values()) row.remove();
    this.drawn.clear();
  }

  draw() {
    const first = Math.max(Math.floor(this.rows.scrollTop / ROW) - MARGIN, 0);
    const last = Math.ceil((this.rows.scrollTop + this.rows.clientHeight) / ROW) + MARGIN;
    const wanted = new Map(this.shown.slice(first, last).map((each, i) => [each.id, [each, first + i]]));
    for (const [id, row] of this.drawn) {
      // The row with the focus stays, or the keyboard would lose its place.
      if (!wanted.has(id) && row !== document.activeElement) {
        row.remove();
        this.drawn.delete(id);
      }
    }
    for (const [id, [feature, index]] of wanted) {
      if (!this.drawn.has(id)) {
        const row = this.row(feature, index);
        this.drawn.set(id, row);
        this.space.append(row);
      }
    }
    this.stops();
  }

  row({ id, properties }, index) {
    const cell = (text, name) => make("span", { role: "gridcell", class: name, text });
    const mark = cell(MARKS[properties.verdict] || "", "mark");
    if (properties.verdict) mark.setAttribute("aria-label", properties.verdict);
    const row = make(
      "div",
      { role: "row", class: "line", "data-id": id, "aria-rowindex": index + 2 },
      cell(id, "number"),
      cell(digits(properties.peak), "number"),
      cell(area(properties), "number"),
      cell(place(properties.x, properties.y, this.placed), "place"),
      mark,
    );
    row.style.top = `${index * ROW}px`;
    row.classList.toggle("selected", id === this.selected);
    row.setAttribute("aria-selected", id === this.selected);
    return row;
  }

  // One stop for the Tab key: the selected row, else the first that there is.
  stops() {
    const stop = this.drawn.get(this.selected) || this.drawn.get(this.shown[0]?.id);
    for (const row of this.drawn.values()) row.tabIndex = row === stop ? 0 : -1;
    this.rows.tabIndex = stop ? -1 : 0;
  }

  refresh(feature) {
    const row = this.drawn.get(feature.id);
    if (!row) return;
    const focused = row === document.activeElement;
    const fresh = this.row(feature, this.shown.indexOf(feature));
    row.replaceWith(fresh);
    this.drawn.set(feature.id, fresh);
    this.stops();
    if (focused) fresh.focus({ preventScroll: true });
  }

  choose(id, focus) {
    for (const each of [this.selected, id]) {
      const row = this.drawn.get(each);
      row?.classList.toggle("selected", each === id);
      row?.setAttribute("aria-selected", each === id);
    }
    this.selected = id;
    const index = this.shown.findIndex((each) => each.id === id);
    if (index < 0) return;
    const top = index * ROW;
    const { scrollTop, clientHeight } = this.rows;
    if (top < scrollTop) this.rows.scrollTop = top;
    if (top + ROW > scrollTop + clientHeight) this.rows.scrollTop = top + ROW - clientHeight;
    this.draw();
    if (focus) this.drawn.get(id)?.focus({ preventScroll: true });
  }

  point(id) {
    if (id === this.hovered) return;
    this.light(id);
    this.hover(id);
  }

  light(id) {
    this.drawn.get(this.hovered)?.classList.remove("hovered");
    this.drawn.get(id)?.classList.add("hovered");
    this.hovered = id;
  }

  step(by, focus) {
    const index = this.shown.findIndex((each) => each.id === this.selected);
    const next = this.shown[Math.min(Math.max(index + by, 0), this.shown.length - 1)];
    if (next) this.select(next.id, { fly: true, focus });
  }

  key(event, judge) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const page = Math.max(Math.floor(this.rows.clientHeight / ROW) - 1, 1);
    const steps = {
      ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page,
      Home: -this.shown.length, End: this.shown.length,
    };
    if (event.key in steps) this.step(steps[event.key], true);
    else if (event.key === "c") judge("confirmed");
    else if (event.key === "x") judge("dismissed");
    else if (event.key === "Enter") $("note").focus();
    else return;
    event.preventDefault();
  }
}

function idOf(event) {
  return Number(event.target.closest("[data-id]")?.dataset.id) || null;
}
