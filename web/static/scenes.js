// The scenes that the service knows: found, shown with picture and footprint, given a role in the job.

import { ask } from "./api.js";
import { covers } from "./geometry.js";
import { $, arrange, copyOf, count, make } from "./text.js";

const SHOWN = 200;
const PAGE = 1000;
const BY_PATH = "path:";

/** How a request names a scene: by its id, or by its path where the service does not keep it. */
export const namedById = (id) => (id.startsWith(BY_PATH) ? { href: id.slice(BY_PATH.length) } : id);
export const idOf = (named) => (typeof named === "string" ? named : `${BY_PATH}${named.href}`);

/** What a scene can be in a job; many: more than one may be given. */
export const ROLES = {
  "detect-change": [
    { field: "before", label: "Before" },
    { field: "after", label: "After" },
    { field: "history", label: "History", many: true, empty: "none (optional)" },
  ],
  "detect-anomaly": [{ field: "scene", label: "Scene" }],
  "train-model": [{ field: "scenes", label: "Normal ground", button: "Use", many: true }],
};
const ON_MAP = { before: "Before", after: "After", scene: "Scene" };

function facts(scene) {
  if (scene.path) return scene.path;
  const size = `${count(scene.width)} × ${count(scene.height)}, ${scene.bands.length} bands`;
  return [scene.date || "no date", scene.sensor, size, scene.footprint ? "" : "no CRS"].filter(Boolean).join(" · ");
}

const newest = (a, b) => (b.date || b.created).localeCompare(a.date || a.created);

export class Scenes {
  constructor(chart, { onChange }) {
    this.chart = chart;
    this.onChange = onChange;
    this.all = [];
    this.byId = new Map();
    this.process = "detect-change";
    this.area = null;
    this.chosen = {};
    this.rows = new Map();
    $("scene-text").addEventListener("input", () => this.draw());
    $("only-covering").addEventListener("change", () => this.draw());
    $("add-path")?.addEventListener("click", () => this.typePath());
    $("scene-path")?.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault();
      this.typePath();
    });
  }

  async load() {
    let found = [];
    let last;
    do {
      ({ scenes: last } = await ask(`scenes?limit=${PAGE}&offset=${found.length}`));
      found = found.concat(last);
      this.take([...this.all.filter((scene) => scene.path), ...found]);
    } while (last.length === PAGE);
  }

  take(scenes) {
    this.byId = new Map(scenes.map((scene) => [scene.id, scene]));
    this.all = [...this.byId.values()].sort(newest);
    this.draw();
  }

  // Scenes by their path: the service opens them when the job is priced

  typePath() {
    const path = $("scene-path").value.trim();
    if (!path) return;
    this.addPath(path);
    $("scene-path").value = "";
    const row = this.rows.get(idOf({ href: path }));
    row.scrollIntoView({ block: "nearest" });
    row.querySelector(".roles button").focus();
  }

  addPath(path) {
    const title = path.split("/").pop();
    this.take([...this.all, { id: idOf({ href: path }), title, path, date: "", created: "9999" }]);
  }

  /** Those among some values of a draft or an older request: no list of the service has them. */
  addPaths(values) {
    for (const id of values) {
      const fresh = typeof id === "string" && id.startsWith(BY_PATH) && !this.byId.has(id);
      if (fresh) this.addPath(id.slice(BY_PATH.length));
    }
  }

  get roles() {
    return ROLES[this.process];
  }

  ids(field) {
    return this.chosen[field] || [];
  }

  /** The inputs of the request that are scenes. */
  inputs() {
    const found = {};
    for (const { field, many } of this.roles) {
      const named = this.ids(field).map(namedById);
      if (named.length) found[field] = many ? named : named[0];
    }
    return found;
  }

  /** The first role that a job cannot do without and that no scene has. */
  missing() {
    return this.roles.find(({ field, empty }) => !empty && !this.ids(field).length);
  }

  show({ process = this.process, area = this.area, chosen = this.chosen }) {
    Object.assign(this, { process, area, chosen });
    this.draw();
  }

  toggle(role, id) {
    const ids = this.ids(role.field);
    const had = ids.includes(id);
    if (role.many) this.chosen[role.field] = had ? ids.filter((each) => each !== id) : [...ids, id];
    else this.chosen[role.field] = had ? [] : [id];
    // One scene has one role: two dates of which one is the other find nothing.
    if (!had) {
      for (const { field } of this.roles) {
        if (field !== role.field) this.chosen[field] = this.ids(field).filter((each) => each !== id);
      }
    }
    const scene = this.byId.get(id);
    if (!had && scene?.footprint && this.chart && !this.chart.sees(scene.footprint)) this.chart.fit(scene.footprint);
    this.draw();
    this.onChange();
  }

  swap() {
    [this.chosen.before, this.chosen.after] = [this.ids("after"), this.ids("before")];
    this.draw();
    this.onChange();
  }

  // Drawing

  draw() {
    const found = this.found();
    const roles = new Map();
    for (const { field } of this.roles) for (const id of this.ids(field)) roles.set(id, field);
    this.drawSlots();
    this.drawList(found.slice(0, SHOWN), roles);
    this.drawCount(found);
    this.onDrawn?.(this.all);
    if (!this.chart) return;
    const used = this.all.filter((scene) => roles.has(scene.id));
    this.chart.showScenes([...new Set([...found.slice(0, SHOWN), ...used])], roles);
    this.chart.showPictures(
      Object.keys(ON_MAP).flatMap((field) => {
        const scene = this.roles.some((role) => role.field === field) && this.byId.get(this.ids(field)[0]);
        return scene ? [{ scene, role: field, label: ON_MAP[field] }] : [];
      }),
    );
  }

  found() {
    const words = $("scene-text").value.toLowerCase().split(/\s+/).filter(Boolean);
    const only = this.area && $("only-covering").checked;
    return this.all.filter((scene) => {
      const text = `${scene.title} ${scene.date} ${scene.sensor}`.toLowerCase();
      if (!words.every((word) => text.includes(word))) return false;
      // Of a scene by its path nothing is known before it is priced.
      return !only || scene.path || (scene.footprint && covers(scene.footprint, this.area));
    });
  }

  drawCount(found) {
    $("only-covering").disabled = !this.area;
    const all = this.all.length;
    const few = found.length > SHOWN ? `, the first ${SHOWN} are shown` : "";
    const covering = this.area && $("only-covering").checked ? " cover the area" : "";
    $("scene-count").textContent = !all
      ? "No scenes yet: upload some."
      : found.length === all && !covering
        ? `${count(all)} in all${few}`
        : `${count(found.length)} of ${count(all)}${covering}${few}`;
  }

  drawSlots() {
    const shown = JSON.stringify([this.process, this.all.length, this.roles.map(({ field }) => this.ids(field))]);
    if (shown === this.slotsShown) return;
    this.slotsShown = shown;
    $("slots").replaceChildren(...this.roles.map((role) => this.slot(role)));
    const [before, after] = ["before", "after"].map((field) => this.byId.get(this.ids(field)[0])?.date);
    if (this.process === "detect-change" && before && after && before > after) {
      const button = make("button", { type: "button", textContent: "Swap" });
      button.addEventListener("click", () => this.swap());
      $("slots").append(make("p", { className: "note" }, "Before is the later date. ", button));
    }
  }

  slot(role) {
    const field = make("div", { className: `slot field ${role.field}` });
    field.dataset.field = role.field;
    const box = make("div", { className: "chosen" });
    for (const id of this.ids(role.field)) box.append(this.chip(role, id));
    if (!box.childElementCount) {
      const choose = make("button", { type: "button", className: "plain", textContent: role.empty || "choose below" });
      choose.setAttribute("aria-label", `${role.label}: ${choose.textContent}`);
      choose.addEventListener("click", () => $("scenes").querySelector(`[data-role="${role.field}"]`)?.focus());
      box.append(choose);
    }
    field.append(make("span", { className: "name", textContent: role.label }), box);
    return field;
  }

  chip(role, id) {
    const scene = this.byId.get(id);
    const drop = make("button", { type: "button", className: "drop-one", textContent: "×" });
    drop.setAttribute("aria-label", `Do not use ${scene?.title ?? id}`);
    drop.addEventListener("click", () => this.toggle(role, id));
    const title = make("b", { textContent: scene?.title ?? "a scene that is gone" });
    const date = make("span", { className: "date", textContent: scene?.date ?? "" });
    return make("span", { className: "chip" }, title, date, drop);
  }

  drawList(scenes, roles) {
    arrange($("scenes"), scenes.map((scene) => this.row(scene, roles.get(scene.id))));
  }

  row(scene, chosen) {
    const row = this.rows.get(scene.id) || this.newRow(scene);
    row.classList.toggle("used", Boolean(chosen));
    const box = row.querySelector(".roles");
    if (box.dataset.process !== this.process) {
      box.dataset.process = this.process;
      box.replaceChildren(...this.roles.map((role) => this.button(role, scene)));
    }
    for (const button of box.children) button.setAttribute("aria-pressed", String(button.dataset.role === chosen));
    return row;
  }

  newRow(scene) {
    const row = copyOf("scene-template");
    row.dataset.scene = scene.id;
    if (!scene.path) row.querySelector("img").src = `scenes/${scene.id}/thumbnail.png`;
    row.querySelector(".title").textContent = scene.title;
    row.querySelector("small").textContent = facts(scene);
    for (const [type, on] of [["mouseenter", true], ["mouseleave", false], ["focusin", true], ["focusout", false]]) {
      row.addEventListener(type, () => this.chart?.pointOut(scene, on));
    }
    this.rows.set(scene.id, row);
    return row;
  }

  button(role, scene) {
    const button = make("button", { type: "button", className: role.field, textContent: role.button || role.label });
    button.dataset.role = role.field;
    button.setAttribute("aria-label", `${button.textContent}: ${scene.title}`);
    button.addEventListener("click", () => this.toggle(role, scene.id));
    return button;
  }

  /** Lead to a scene whose footprint was clicked. */
  reveal(id) {
    const row = this.rows.get(id);
    row?.scrollIntoView({ block: "nearest" });
    row?.querySelector(".roles button")?.focus();
  }
}
