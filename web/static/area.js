// The area of the job: drawn, typed, or read from a file by the service.

import { canDraw } from "./chart.js";
import { Problem, send } from "./api.js";
import { areaOf, cornersOf, readTyped } from "./geometry.js";
import { $, plural, squareKilometres } from "./text.js";

const EDITABLE_CORNERS = 400;
const SHAPES = { "draw-rectangle": "Rectangle", "draw-polygon": "Polygon" };
const HINTS = {
  Rectangle: "Click two opposite corners. Esc stops.",
  Polygon: "Click the corners, the first one again to finish. Esc stops.",
};

export class Area {
  /** chart: null where there is no map; onChange: told after each change by the user. */
  constructor(chart, { onChange, onError }) {
    this.chart = chart;
    this.onChange = onChange;
    this.onError = onError;
    this.geometry = null;
    this.name = "";
    this.crossing = null; // The file whose outline crosses itself.
    for (const [id, shape] of Object.entries(SHAPES)) {
      $(id).disabled = !canDraw;
      $(id).addEventListener("click", () => this.toggleDrawing(shape));
    }
    $("edit-area").addEventListener("click", () => this.toggleEditing());
    $("delete-area").addEventListener("click", () => this.change(null));
    $("repair-area").addEventListener("click", () => this.open(this.crossing, { repair: true }));
    $("open-area").addEventListener("click", () => $("area-file").click());
    $("area-file").addEventListener("change", ({ target }) => {
      if (target.files.length) this.open(target.files[0]);
      target.value = "";
    });
    $("area-text").addEventListener("change", () => this.type());
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && (this.chart?.drawing || this.chart?.editing)) this.stop();
    });
    this.draw();
  }

  /** Show without telling: what a reload or an older job had. */
  show(geometry, name = "") {
    this.geometry = geometry;
    this.name = name;
    this.crossing = null;
    this.chart?.showArea(geometry);
    this.draw();
  }

  change(geometry, name = "") {
    this.show(geometry, name);
    this.onChange();
  }

  /** What the chart tells after drawing or editing: it shows the area already. */
  drawn(geometry) {
    this.geometry = geometry;
    this.name = "";
    this.crossing = null;
    this.draw();
    this.onChange();
  }

  toggleDrawing(shape) {
    if (this.chart.drawing === shape) this.chart.stopDrawing();
    else this.chart.draw(shape);
    this.draw();
  }

  toggleEditing() {
    if (this.chart.editing) this.chart.stopEditing();
    else this.chart.edit();
    this.draw();
  }

  stop() {
    this.chart.stopDrawing();
    this.chart.stopEditing();
    this.draw();
  }

  type() {
    const text = $("area-text").value.trim();
    if (!text) return;
    try {
      this.change(readTyped(text));
    } catch (error) {
      this.onError(new Problem({ detail: error.message, field: "aoi" }));
    }
  }

  /** After a refusal: a button, where a repair is what the user can ask for. */
  offerRepair(error, file = null) {
    if (!error.crossing) return;
    this.crossing = file || new File([JSON.stringify(this.geometry)], "area.geojson");
    this.draw();
  }

  async open(file, { repair = false } = {}) {
    const form = new FormData();
    form.append("file", file);
    form.append("repair", repair);
    $("area-note").textContent = `Reading ${file.name}…`;
    try {
      const found = await send("areas", form, () => {});
      this.change(found.geometry, [found.name, ...found.notes].join(". "));
    } catch (error) {
      this.draw();
      error.field = "aoi";
      this.onError(error);
      this.offerRepair(error, file);
    }
  }

  draw() {
    const shape = this.chart?.drawing;
    const editing = Boolean(this.chart?.editing);
    const corners = this.geometry ? cornersOf(this.geometry) : 0;
    for (const [id, each] of Object.entries(SHAPES)) $(id).setAttribute("aria-pressed", String(shape === each));
    $("edit-area").setAttribute("aria-pressed", String(editing));
    $("edit-area").disabled = !canDraw || !this.geometry || corners > EDITABLE_CORNERS;
    $("delete-area").disabled = !this.geometry;
    $("repair-area").hidden = !this.crossing;
    $("area-note").textContent = shape ? HINTS[shape] : editing ? "Drag the corners. Esc stops." : this.said(corners);
  }

  said(corners) {
    if (!this.geometry) return "None: the whole of the scenes.";
    const parts = [squareKilometres(areaOf(this.geometry)), plural(corners, "corner"), this.name];
    return parts.filter(Boolean).join(" · ");
  }
}
