// The page of a finished job: its parts, wired together. Every text from the service goes through
// textContent, so that no name can become markup.

import { ask, JOB, latest } from "./ask.js";
import { Detail, drawReading, facts } from "./detail.js";
import { FrameLink } from "./frame-link.js";
import { $, digits, make, place, trouble } from "./page.js";
import { Dates } from "./dates.js";
import { Table } from "./table.js";
import { fillTake } from "./take.js";
import { Threshold } from "./threshold.js";

const WAIT = 2000;

const FINAL = ["successful", "failed", "dismissed"];

async function finished() {
  for (;;) {
    const job = await ask(JOB);
    if (FINAL.includes(job.status)) return;
    $("wait").textContent = `${job.status}, ${job.progress} %. ${job.message || ""}`;
    await new Promise((resolve) => setTimeout(resolve, WAIT));
  }
}

function fillHead(view) {
  const title = view.scenes.map((scene) => scene.title).join(" → ") || "Result";
  $("title").textContent = title;
  $("title").title = title;
  document.title = `${title}, geoanomaly`;
  const dates = view.scenes.map((scene) => scene.date).filter(Boolean).join(" → ");
  const size = `${view.shape[1]} × ${view.shape[0]} px`;
  $("meta").textContent = [dates, size, view.crs, view.detector].filter(Boolean).join(" · ");
  for (const [id, list, lines] of [["doubt", "doubts", view.doubts], ["notes", "notes-list", view.notes]]) {
    $(id).hidden = !lines.length;
    $(list).replaceChildren(...lines.map((text) => make("li", { text })));
  }
}

function fillLegend(view) {
  $("legend").replaceChildren(
    ...view.legend.map(({ low, high, colour, meaning }) => {
      const [red, green, blue, alpha] = colour;
      const swatch = make("span", { class: "swatch" });
      swatch.style.background = `rgba(${red}, ${green}, ${blue}, ${alpha / 255})`;
      const range = high > 1e6 ? `≥ ${low}` : `${low} – ${high}`;
      return make("li", {}, swatch, make("span", { class: "range", text: range }), make("span", { text: meaning }));
    }),
  );
  $("unit").textContent = [view.unit.replace("surprise: ", ""), view.basis].filter(Boolean).join("; ");
}

async function start() {
  if (!("done" in document.body.dataset)) await finished();
  const asked = ask(`${JOB}/view`);
  const frame = new FrameLink($("map"));
  // Shown first: a map that begins without a size would ask for the tiles of another view.
  $("result").hidden = false;
  const ready = frame.open(`${JOB}/frame`);
  const view = await asked;
  $("wait").hidden = true;
  fillHead(view);
  fillLegend(view);

  let features = [];
  const byId = (id) => features.find((each) => each.id === id) ?? null;
  const list = latest();
  const reading = latest();

  const scenes = new Dates(view, frame);
  const threshold = new Threshold(view, frame, () => load().catch(trouble));
  const detail = new Detail(view, scenes, { judged: showVerdict });
  const table = new Table(view.placed, {
    select,
    hover: (id) => frame.tell("hover", { id }),
    judge: (verdict) => detail.judge(verdict),
  });
  fillTake(view, () => threshold.value);

  function select(id, { fly, focus }) {
    table.choose(id, focus);
    frame.tell("select", { id, fly });
    detail.show(byId(id), threshold.value);
  }

  function showVerdict(feature) {
    table.refresh(feature);
    frame.tell("mark", { id: feature.id, verdict: feature.properties.verdict });
  }

  async function load() {
    const address = `${JOB}/anomalies?surprise=${threshold.value}`;
    // Outlines of thousands take a second to trace and to send: the table does not wait for them.
    const found = await list(`${address}&outlines=false`);
    if (!found) return;
    const key = byId(table.selected)?.properties.key;
    features = found.features;
    threshold.limit(found.floor, found.highest);
    threshold.compare(found);
    table.fill(features);
    frame.tell("anomalies", { shown: $("outlines").checked, features: [] });
    // The same place, under the number that it has now.
    const same = features.find((each) => each.properties.key === key);
    if (key) select(same?.id ?? null, { fly: false, focus: false });
    const drawn = features.length ? await list(address) : found;
    if (!drawn) return;
    frame.tell("anomalies", {
      shown: $("outlines").checked,
      features: drawn.features.map(({ id, geometry }) => ({ id, geometry, verdict: byId(id)?.properties.verdict })),
    });
    if (table.selected) frame.tell("select", { id: table.selected, fly: false });
  }

  async function readPoint({ x, y }) {
    let found;
    try {
      found = await reading(`${JOB}/point?x=${x}&y=${y}`);
    } catch (error) {
      if (error.status !== 400) trouble(error);
      return;
    }
    if (!found) return;
    frame.tell("pin", { x, y });
    $("reading").hidden = false;
    const value = found.surprise === null ? "no value" : digits(found.surprise);
    $("reading-facts").replaceChildren(
      ...facts([
        ["surprise", value],
        ["p-value", found.p === null ? "–" : found.p < 1e-3 ? found.p.toExponential(1) : digits(found.p, 2)],
        [view.placed ? "lat, lon" : "row, col", place(x, y, view.placed)],
      ]),
    );
    drawReading(found, $("reading-moves"), $("reading-spectra"));
    $("reading").scrollIntoView({ block: "nearest" });
  }

  frame.on("hover", ({ id }) => table.light(id));
  frame.on("select", ({ id }) => select(id, { fly: false, focus: false }));
  frame.on("point", readPoint);
  $("reading-close").addEventListener("click", () => {
    $("reading").hidden = true;
    frame.tell("pin", {});
  });
  $("previous").addEventListener("click", () => table.step(-1, false));
  $("next").addEventListener("click", () => table.step(1, false));
  $("opacity").addEventListener("input", () => showOpacity());
  $("outlines").addEventListener("change", () => frame.tell("outlines", { shown: $("outlines").checked }));
  $("whole").addEventListener("click", () => frame.tell("whole"));
  $("internet-label").hidden = !view.placed;
  $("internet").addEventListener("change", () => frame.tell("internet", { shown: $("internet").checked }));

  function showOpacity() {
    $("opacity-value").textContent = `${$("opacity").value} %`;
    frame.tell("opacity", { value: $("opacity").value / 100 });
  }

  await ready;
  showOpacity();
  threshold.shade();
  await Promise.all([scenes.choose(), load()]);
}

// One menu at a time, and none when the page is clicked.
addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
});
addEventListener("keydown", (event) => {
  const menu = event.key === "Escape" && document.querySelector("details.menu[open]");
  if (!menu) return;
  menu.open = false;
  menu.querySelector("summary").focus();
});

start().catch((error) => {
  $("result").hidden = true;
  $("wait").hidden = false;
  $("wait").textContent = error.message;
});
