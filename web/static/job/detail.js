// One anomaly: pictures of it, why it stands out, and what the analyst says of it.

import { ask, JOB, latest, put } from "./ask.js";
import { chart, key } from "./spectra.js";
import { $, area, digits, make, place, trouble } from "./page.js";

const CHIP = 120;
const AROUND = 1.5;
const SMALLEST = 28;
/** Spreads from the usual below which nothing is said to have moved. */
const CLEAR = 2;

export class Detail {
  constructor(view, scenes, { judged }) {
    this.view = view;
    this.scenes = scenes;
    this.judged = judged;
    this.feature = null;
    this.question = latest();
    scenes.onChange(() => this.feature && this.drawChips());
    $("confirm").addEventListener("click", () => this.judge("confirmed"));
    $("dismiss").addEventListener("click", () => this.judge("dismissed"));
    $("note").addEventListener("change", () => this.keepNote());
  }

  async show(feature, threshold) {
    this.feature = feature;
    $("detail").hidden = !feature;
    if (!feature) return;
    const { properties } = feature;
    $("detail-title").textContent = `Anomaly ${feature.id}`;
    $("facts").replaceChildren(
      ...facts([
        ["peak", digits(properties.peak)],
        ["mean", digits(properties.mean)],
        ["area", area(properties)],
        [this.view.placed ? "lat, lon" : "row, col", place(properties.x, properties.y, this.view.placed)],
      ]),
    );
    $("note").value = properties.note;
    this.drawVerdict();
    this.drawChips();
    $("why").setAttribute("aria-busy", "true");
    try {
      const found = await this.question(`${JOB}/anomalies/${properties.key}?surprise=${threshold}`);
      if (found) drawReading(found, $("moves"), $("spectra"));
      if (found) $("why").removeAttribute("aria-busy");
    } catch (error) {
      trouble(error);
    }
  }

  drawChips() {
    const [left, bottom, right, top] = this.feature.properties.bounds;
    const side = Math.max((right - left) * AROUND, (top - bottom) * AROUND, SMALLEST * this.view.resolution) / 2;
    const [x, y] = [(left + right) / 2, (bottom + top) / 2];
    const box = `bounds=${[x - side, y - side, x + side, y + side].join(",")}&size=${2 * CHIP}`;
    const titles = { before: "Before", after: this.scenes.scenes.length > 1 ? "After" : "Scene" };
    const pictures = this.scenes.scenes
      .filter(({ layer }) => this.scenes.queries[layer])
      .map(({ layer }) => [titles[layer], layer, `&${this.scenes.queries[layer]}`]);
    pictures.push(["Surprise", "heatmap", ""]);
    $("chips").replaceChildren(
      ...pictures.map(([title, layer, query]) =>
        make(
          "figure",
          {},
          make("img", {
            src: `${JOB}/tiles/${layer}/chip.png?${box}${query}`,
            alt: `${title} of anomaly ${this.feature.id}`,
            width: CHIP,
            height: CHIP,
          }),
          make("figcaption", { text: title }),
        ),
      ),
    );
  }

  drawVerdict() {
    const { verdict } = this.feature.properties;
    $("confirm").setAttribute("aria-pressed", verdict === "confirmed");
    $("dismiss").setAttribute("aria-pressed", verdict === "dismissed");
    $("judged").textContent = "";
  }

  // The same verdict again takes it back.
  async judge(verdict) {
    const { feature } = this;
    if (!feature) return;
    const { properties } = feature;
    const address = `${JOB}/judgements/${properties.key}`;
    const before = properties.verdict;
    try {
      if (verdict === before) {
        await ask(address, { method: "DELETE" });
        properties.verdict = null;
      } else {
        await put(address, { verdict, note: $("note").value });
        properties.verdict = verdict;
        properties.note = $("note").value;
      }
    } catch (error) {
      trouble(error);
      return;
    }
    this.judged(feature);
    if (feature !== this.feature) return;
    this.drawVerdict();
    $("judged").textContent = properties.verdict ? "Stored." : "Taken back.";
  }

  async keepNote() {
    const { feature } = this;
    const { properties } = feature;
    properties.note = $("note").value;
    if (!properties.verdict) {
      $("judged").textContent = "Confirm or dismiss to store the note.";
      return;
    }
    try {
      await put(`${JOB}/judgements/${properties.key}`, {
        verdict: properties.verdict,
        note: properties.note,
      });
      $("judged").textContent = "Note stored.";
    } catch (error) {
      trouble(error);
    }
  }
}

export function facts(pairs) {
  return pairs.map(([name, value]) =>
    make("span", {}, make("small", { text: name }), make("b", { text: value })),
  );
}

/** What moved and the spectra; nothing where a scene is gone. */
export function drawReading(found, list, figure) {
  const moves = (found.moves ?? []).filter(({ deviation }) => Math.abs(deviation) >= CLEAR);
  list.replaceChildren(...moves.map(drawMove));
  if (found.bands && !moves.length) list.append(make("li", { text: found.reason }));
  figure.replaceChildren(...(found.bands ? [chart(found), key(Object.keys(found.spectra))] : []));
}

function drawMove({ name, tells, before, after, deviation }) {
  const values = before === null ? digits(after) : `${digits(before)} → ${digits(after)}`;
  const side = deviation > 0 ? "more" : "less";
  return make(
    "li",
    {},
    make("b", { text: name }),
    make("span", { text: tells }),
    make("span", { class: "number", text: values }),
    make("span", {
      class: "number",
      text: `${deviation > 0 ? "▲" : "▼"} ${digits(Math.abs(deviation), 2)} σ`,
      title: `${digits(Math.abs(deviation), 2)} usual spreads ${side} than is usual in the scene`,
    }),
  );
}
