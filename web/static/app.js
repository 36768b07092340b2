// The application page: puts its parts together and keeps the place in the address.

import { Area } from "./area.js";
import { Chart, canDraw } from "./chart.js";
import { Exclusion } from "./exclude.js";
import { showError } from "./fields.js";
import { Jobs } from "./jobs.js";
import { Request } from "./request.js";
import { Scenes } from "./scenes.js";
import { $ } from "./text.js";
import { Uploads } from "./upload.js";

const form = $("job-form");
const TABS = { new: "tab-new", list: "tab-jobs" };

const chart = canDraw
  ? new Chart($("map"), {
      area: (geometry) => area.drawn(geometry),
      scene: (id) => {
        show("new");
        scenes.reveal(id);
      },
      drawing: () => area?.draw(),
      note: (text) => ($("connection").textContent = text),
    })
  : null;
const scenes = new Scenes(chart, { onChange: () => request.changed() });
const area = new Area(chart, {
  onChange: () => request.changed(),
  onError: (error) => showError(form, error),
});
const exclusion = new Exclusion(chart, { onError: (error) => showError(form, error) });
const request = new Request(scenes, area, {
  onStarted: (job) => {
    show("list");
    jobs.reload().then(() => jobs.reveal(job.jobID));
    jobs.poll();
  },
});
const jobs = new Jobs({
  connection: (text) => ($("connection").textContent = text),
  opened: (id) => remember(id ? `job=${id}` : "jobs"),
  area: (inputs) => showPlace(inputs),
  canShow: (process, inputs) => request.canShow(process, inputs),
  again: (process, inputs) => {
    show("new");
    request.fill(process, inputs);
    exclusion.draw();
  },
});
new Uploads({
  onScene: () => scenes.load().catch(() => {}),
  onArea: (file) => {
    show("new");
    area.open(file);
  },
});

/** A job on the map: its area, else the footprint of the scene that it looks at. */
function showPlace(inputs) {
  const scene = inputs && scenes.byId.get(inputs.after || inputs.scene || inputs.scenes?.[0]);
  const area = inputs?.aoi_crs ? null : inputs?.aoi;
  chart?.showJob(area || scene?.footprint, scene);
}

// Two panels, as tabs

function show(name) {
  for (const [panel, tab] of Object.entries(TABS)) {
    const on = panel === name;
    $(panel).hidden = !on;
    $(tab).setAttribute("aria-selected", String(on));
    $(tab).tabIndex = on ? 0 : -1;
  }
  if (name === "new") chart?.showJob(null);
  $("map").classList.toggle("listing", name !== "new");
  remember(name === "new" ? "" : jobs.open ? `job=${jobs.open}` : "jobs");
}

function remember(place) {
  history.replaceState(null, "", place ? `#${place}` : location.pathname + location.search);
}

for (const [panel, tab] of Object.entries(TABS)) {
  $(tab).addEventListener("click", () => show(panel));
  $(tab).addEventListener("keydown", ({ key }) => {
    if (key !== "ArrowLeft" && key !== "ArrowRight") return;
    const other = panel === "new" ? "list" : "new";
    show(other);
    $(TABS[other]).focus();
  });
}

// The start

/** A map of the world says little where all scenes lie in one corner. */
function lookAtScenes() {
  const footprints = scenes.all.map((scene) => scene.footprint).filter(Boolean);
  if (footprints.length && !area.geometry) chart?.fit(...footprints);
}

async function start() {
  const place = new URLSearchParams(location.hash.slice(1));
  if (place.has("jobs") || place.has("job")) show("list");
  request.restore();
  exclusion.draw();
  const listed = jobs.poll();
  await Promise.allSettled([
    scenes.load().then(lookAtScenes, (error) => showError(form, error, { focus: false })),
    request.loadModels(),
    listed,
  ]);
  if (place.get("job")) jobs.reveal(place.get("job")).catch(() => remember("jobs"));
  document.body.dataset.ready = "";
}

start();
