// Before, after and swipe; band combinations; the stretch.

import { ask, JOB } from "./ask.js";
import { $, make, trouble } from "./page.js";

const OWN = "own";

export class Dates {
  constructor(view, frame) {
    this.scenes = view.scenes;
    this.frame = frame;
    this.ranges = new Map();
    this.queries = {};
    this.last = view.scenes.at(-1);
    this.listeners = [];
    const pair = view.scenes.length > 1;
    $("modes").hidden = !pair;
    $("alike-label").hidden = !pair;
    if (!this.last) {
      for (const id of ["bands", "stretch"]) $(id).closest("label").hidden = true;
      return;
    }
    this.fill();
    $("modes").addEventListener("change", (event) => frame.tell("mode", { mode: event.target.value }));
    for (const id of ["bands", "stretch", "alike", "red", "green", "blue"]) {
      $(id).addEventListener("change", () => this.change().catch(trouble));
    }
  }

  fill() {
    const { styles, bands } = this.last;
    const options = styles.map((style, number) => make("option", { text: style.name, value: number }));
    if (bands.length > 1) options.push(make("option", { text: "own choice…", value: OWN }));
    $("bands").replaceChildren(...options);
    const first = styles[0].bands;
    ["red", "green", "blue"].forEach((id, number) => {
      $(id).replaceChildren(
        ...bands.map((name, index) => make("option", { text: name, value: index + 1 })),
      );
      $(id).value = first[number] ?? first[0];
    });
  }

  // 1-based band numbers of a scene. Dates of other sensors share styles by name, not by number.
  bandsOf(scene) {
    const chosen = $("bands").value;
    if (chosen === OWN) {
      return ["red", "green", "blue"].map((id) => Math.min(Number($(id).value), scene.bands.length));
    }
    const { name } = this.last.styles[Number(chosen)];
    return (scene.styles.find((style) => style.name === name) ?? scene.styles[0]).bands;
  }

  async rangesOf(scene, bands) {
    const query = bands.map((band) => `bidx=${band}`).join("&");
    const key = `${scene.layer}?${query}`;
    if (!this.ranges.has(key)) {
      this.ranges.set(key, (await ask(`${JOB}/tiles/${scene.layer}/ranges?${query}`)).bands);
    }
    return bands.map((band) => this.ranges.get(key)[band]);
  }

  async change() {
    await this.choose();
    for (const { layer } of this.scenes) {
      this.frame.tell("scene", { layer, query: this.queries[layer] });
    }
    for (const listener of this.listeners) listener();
  }

  /** Which bands and ranges are asked for. The map begins with the first style by itself. */
  async choose() {
    if (!this.last) return;
    $("own-bands").hidden = $("bands").value !== OWN;
    const [low, high] = $("stretch").value.split(",").map(Number);
    const found = await Promise.all(
      this.scenes.map(async (scene) => {
        const bands = this.bandsOf(scene);
        return { scene, bands, ranges: await this.rangesOf(scene, bands) };
      }),
    );
    const leader = found.at(-1).ranges;
    for (const { scene, bands, ranges } of found) {
      const used = $("alike").checked ? leader : ranges;
      this.queries[scene.layer] = [
        ...bands.map((band) => `bidx=${band}`),
        ...used.map((range) => `rescale=${span(range[low], range[high])}`),
      ].join("&");
    }
  }

  onChange(listener) {
    this.listeners.push(listener);
  }
}

function span(low, high) {
  // A constant band would divide by nothing.
  const top = high > low ? high : low + 1;
  return [low, top].map((value) => String(Number(value.toPrecision(9)))).join(",");
}
