// The request that the form makes: read, priced while it is filled in, sent, kept over a reload.

import { ask, freshKey, post, Problem } from "./api.js";
import { clearErrors, showError } from "./fields.js";
import { readTyped } from "./geometry.js";
import { idOf, namedById, ROLES } from "./scenes.js";
import { $, count, duration, make, pixels, plural } from "./text.js";

const DRAFT = "geoanomaly-draft";
const PAUSE_MS = 450;
const MASKS = ["before_mask", "mask"];

export class Request {
  constructor(scenes, area, { onStarted }) {
    Object.assign(this, { scenes, area, onStarted });
    this.form = $("job-form");
    this.key = freshKey();
    this.pricing = null;
    this.timer = 0;
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.submit();
    });
    this.form.addEventListener("input", (event) => {
      delete event.target.dataset.wanted;
      if (event.target.name && event.target.type !== "file") this.changed();
    });
    scenes.onDrawn = (all) => this.offerMasks(all);
    // Models come and go with training jobs: look again when somebody opens the list.
    $("model").addEventListener("focus", () => this.loadModels().catch(() => {}));
  }

  get process() {
    return this.form.elements.process.value;
  }

  set process(value) {
    this.form.elements.process.value = value;
  }

  async loadModels() {
    const { models } = await ask("models");
    const chosen = $("model").value || this.wantedModel;
    const options = models.map(({ name }) => new Option(name, name, false, name === chosen));
    $("model").replaceChildren(new Option("Fit to this scene", ""), ...options);
  }

  /** Any scene may be a mask. */
  offerMasks(scenes) {
    if (this.offered === scenes) return;
    this.offered = scenes;
    for (const select of this.form.querySelectorAll("select[data-kind=scene]")) {
      const chosen = select.value || select.dataset.wanted;
      const options = scenes.map(({ id, title, date }) => {
        const text = [title, date].filter(Boolean).join(", ");
        return new Option(text, id, false, id === chosen);
      });
      select.replaceChildren(new Option("nothing more", ""), ...options);
    }
  }

  /** Anything of the request is another now. */
  changed() {
    this.key = freshKey();
    this.showFields();
    clearErrors(this.form);
    this.keep();
    clearTimeout(this.timer);
    this.pricing?.abort();
    this.timer = setTimeout(() => this.price(), PAUSE_MS);
  }

  showFields() {
    for (const field of this.form.querySelectorAll("[data-for]")) {
      field.hidden = !field.dataset.for.split(" ").includes(this.process);
    }
    this.scenes.show({ process: this.process, area: this.area.geometry });
  }

  controls() {
    const all = this.form.querySelectorAll(".field:not([hidden]) :is(input, select, textarea)[name]");
    return [...all].filter((control) => control.type !== "radio");
  }

  inputs() {
    const found = this.scenes.inputs();
    if (this.area.geometry) found.aoi = this.area.geometry;
    for (const control of this.controls()) {
      const value = valueOf(control);
      if (value !== undefined) found[control.name] = value;
    }
    return found;
  }

  // Price

  async price() {
    if (this.scenes.missing() || (this.process === "train-model" && !$("name").value.trim())) {
      this.say(this.hint());
      return;
    }
    this.pricing = new AbortController();
    const { signal } = this.pricing;
    this.say("Checking…");
    try {
      const found = await post(`processes/${this.process}/price`, { inputs: this.inputs() }, { signal });
      this.sayPrice(found);
    } catch (error) {
      if (error.name === "AbortError") return;
      this.say("");
      showError(this.form, error, { focus: false });
      this.area.offerRepair(error);
    }
  }

  hint() {
    const missing = this.scenes.missing();
    if (!missing) return "Name the model to see the price.";
    const what = { before: "a before scene", after: "an after scene", scene: "a scene", scenes: "scenes of normal ground" };
    return `Choose ${what[missing.field]} to see the price.`;
  }

  say(text) {
    $("price").replaceChildren(text);
  }

  sayPrice({ pixels: number, shape, tiles, time, ahead, notes }) {
    const [height, width] = shape;
    const about = `about ${duration(time.seconds)}`;
    const basis = time.jobs ? `as ${plural(time.jobs, "earlier job")} took here` : "a guess: no such job was done here yet";
    const parts = [make("b", { textContent: about }), ` · ${pixels(number)} (${count(width)} × ${count(height)}) · ${plural(tiles, "tile")}`];
    if (ahead) parts.push(` · ${plural(ahead, "job")} before it`);
    const small = make("small", { textContent: basis });
    $("price").replaceChildren(make("p", {}, ...parts), small, ...notesOf(notes));
  }

  // Start

  async submit() {
    const button = this.form.querySelector(".primary");
    clearTimeout(this.timer);
    this.pricing?.abort();
    clearErrors(this.form);
    button.disabled = true;
    try {
      const body = { inputs: this.inputs() };
      // Sent again after a broken connection, it is the same job.
      const headers = { "Idempotency-Key": this.key };
      const job = await post(`processes/${this.process}/execution`, body, { headers });
      this.key = freshKey();
      this.onStarted(job);
    } catch (error) {
      showError(this.form, error);
      this.area.offerRepair(error);
    } finally {
      button.disabled = false;
    }
  }

  // Over a reload, and from an older job

  keep() {
    const options = Object.fromEntries(this.controls().map((control) => [control.id, keptValue(control)]));
    const { chosen } = this.scenes;
    const { geometry, name } = this.area;
    const draft = JSON.stringify({ process: this.process, chosen, geometry, name, options });
    try {
      sessionStorage.setItem(DRAFT, draft);
    } catch {
      // An area of megabytes: the browser does not keep it, and all else goes on.
      sessionStorage.removeItem(DRAFT);
    }
  }

  restore() {
    const draft = JSON.parse(sessionStorage.getItem(DRAFT) || "null");
    if (draft) {
      this.process = draft.process;
      this.wantedModel = draft.options.model;
      this.scenes.addPaths([...Object.values(draft.chosen).flat(), ...Object.values(draft.options)]);
      for (const [id, value] of Object.entries(draft.options)) setValue($(id), value);
      this.area.show(draft.geometry, draft.name);
      this.scenes.chosen = draft.chosen;
    }
    this.showFields();
    this.showOptions();
    this.price();
  }

  /** Options that are set must not hide. */
  showOptions() {
    for (const id of ["more-options", "advanced"]) {
      const controls = [...$(id).querySelectorAll("[name]")];
      if (controls.some(isSet)) $(id).open = true;
    }
  }

  /** Whether the form has a field for each of these inputs: none may get lost on the way. */
  canShow(process, inputs) {
    const fields = ROLES[process].map(({ field }) => field);
    const named = [...this.form.querySelectorAll("[name]")].map((control) => control.name);
    const known = new Set(["aoi", ...fields, ...named]);
    const given = [...fields, ...MASKS].flatMap((field) => inputs[field] || []);
    const reached = given.every((scene) => typeof scene === "string" || $("scene-path"));
    return reached && Object.keys(inputs).every((name) => known.has(name));
  }

  /** Fill the form with the inputs of a job. */
  fill(process, inputs) {
    this.process = process;
    const controls = this.form.querySelectorAll(":is(select, textarea, input)[name]:not([type=radio])");
    for (const control of controls) setValue(control, "");
    $("false_alarm_rate").value = "0.01";
    this.wantedModel = inputs.model;
    this.loadModels().catch(() => {});
    const roles = ROLES[process].filter(({ field }) => inputs[field]);
    const chosen = roles.map(({ field }) => [field, [inputs[field]].flat().map(idOf)]);
    const masks = MASKS.filter((name) => inputs[name]).map((name) => idOf(inputs[name]));
    this.scenes.addPaths([...chosen.flatMap(([, ids]) => ids), ...masks]);
    for (const [name, value] of Object.entries(inputs)) {
      const id = name === "detector" ? `detector-${process}` : name;
      setValue($(id), name === "ignore" ? true : value);
    }
    this.scenes.chosen = Object.fromEntries(chosen);
    this.area.show(inputs.aoi || null);
    this.showOptions();
    this.changed();
  }
}

function valueOf(control) {
  if (control.type === "checkbox") {
    if (!control.checked) return undefined;
    return control.hasAttribute("value") ? [control.value] : true;
  }
  const text = control.value.trim();
  if (!text) return undefined;
  if (control.dataset.kind === "scene") return namedById(text);
  if (control.dataset.kind === "area") return typedArea(text, control.name);
  return control.type === "number" || control.dataset.kind === "number" ? Number(text) : text;
}

const isSet = (control) => (control.type === "checkbox" ? control.checked : Boolean(control.value.trim()));

function typedArea(text, field) {
  try {
    return readTyped(text);
  } catch (error) {
    throw new Problem({ detail: error.message, field });
  }
}

const keptValue = (control) => (control.type === "checkbox" ? control.checked : control.value);

function setValue(control, value) {
  if (!control) return;
  if (control.type === "checkbox") control.checked = Boolean(value);
  else if (control.dataset.kind === "scene") setScene(control, value && idOf(value));
  else if (control.tagName === "TEXTAREA") control.value = typeof value === "string" ? value : JSON.stringify(value);
  else if (["INPUT", "SELECT"].includes(control.tagName)) control.value = value;
}

/** The scenes may not be here yet. */
function setScene(select, id) {
  select.dataset.wanted = id;
  select.value = id;
}

function notesOf(notes) {
  if (!notes.length) return [];
  const summary = make("summary", { textContent: plural(notes.length, "note") });
  const list = make("ul", {}, ...notes.map((note) => make("li", { textContent: note })));
  return [make("details", {}, summary, list)];
}
