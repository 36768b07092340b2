// What is left out of learning: typed, or read from a file by the service; shown on the map.

import { Problem, send } from "./api.js";
import { readTyped } from "./geometry.js";
import { $ } from "./text.js";

export class Exclusion {
  /** chart: null where there is no map. */
  constructor(chart, { onError }) {
    this.chart = chart;
    this.field = $("exclude");
    this.field.addEventListener("input", () => this.draw());
    $("open-exclude").addEventListener("click", () => $("exclude-file").click());
    $("exclude-file").addEventListener("change", async ({ target }) => {
      const [file] = target.files;
      target.value = "";
      if (!file) return;
      try {
        this.take(await read(file));
      } catch (error) {
        onError(new Problem({ detail: error.message, field: "exclude" }));
      }
    });
  }

  take({ geometry }) {
    this.field.value = JSON.stringify(geometry);
    // As if it were typed: the request hears of it.
    this.field.dispatchEvent(new Event("input", { bubbles: true }));
  }

  draw() {
    let geometry = null;
    try {
      geometry = this.field.value.trim() && readTyped(this.field.value.trim());
    } catch {
      // Half typed; what is wrong with it is said beside the field.
    }
    this.chart?.showExcluded(geometry || null);
  }
}

function read(file) {
  const form = new FormData();
  form.append("file", file);
  return send("areas", form, () => {});
}
