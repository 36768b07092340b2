// The application page. Every address is relative, so that it works under a path prefix;
// every text from the service goes through textContent, so that no name can become markup.

const $ = (id) => document.getElementById(id);
const FINAL = new Set(["successful", "failed", "dismissed"]);
const PAGE = 20;
const KINDS = {
  "detect-change": "change",
  "detect-anomaly": "anomalies",
  "train-model": "training",
};

let limit = PAGE;

// Talking to the service

class Problem extends Error {
  constructor(document) {
    super(document.detail || document.title || "The service failed.");
    this.field = document.field;
  }
}

async function ask(address, options) {
  const response = await fetch(address, options);
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new Problem(body);
  return body;
}

function send(address, form, onProgress) {
  // XMLHttpRequest, because fetch does not tell how much of an upload is done.
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", address);
    request.responseType = "json";
    request.upload.onprogress = (event) => onProgress(event.loaded / event.total);
    request.onerror = () => reject(new Problem({ detail: "The service cannot be reached." }));
    request.onload = () =>
      request.status < 400 ? resolve(request.response) : reject(new Problem(request.response || {}));
    request.send(form);
  });
}

// Errors beside their field

function clearErrors(form) {
  for (const field of form.querySelectorAll(".bad")) {
    field.classList.remove("bad");
    field.querySelector(".error")?.remove();
  }
  const general = form.querySelector(":scope > .error");
  general.hidden = true;
}

function showError(form, error) {
  const name = (error.field || "").split(".").pop();
  const field = name && form.querySelector(`[data-field="${CSS.escape(name)}"]:not([hidden])`);
  if (!field) {
    const general = form.querySelector(":scope > .error");
    general.textContent = error.message;
    general.hidden = false;
    return;
  }
  const note = document.createElement("p");
  note.className = "error";
  note.setAttribute("role", "alert");
  note.textContent = error.message;
  field.classList.add("bad");
  field.append(note);
  const details = field.closest("details");
  if (details) details.open = true;
  field.querySelector("input, select, textarea").focus();
}

// Scenes and models

function fill(select, entries, first) {
  const chosen = new Set([...select.selectedOptions].map((option) => option.value));
  const options = entries.map(([value, text]) => new Option(text, value, false, chosen.has(value)));
  select.replaceChildren(...(first === null ? [] : [new Option(first, "")]), ...options);
}

function describe(scene) {
  const size = `${scene.width} × ${scene.height}, ${scene.bands.length} bands`;
  return [scene.title, scene.date, size].filter(Boolean).join(" · ");
}

async function loadScenes() {
  const { scenes } = await ask("scenes?limit=500");
  const entries = scenes.map((scene) => [scene.id, describe(scene)]);
  const first = entries.length ? "choose a scene" : "no scenes yet: add one";
  for (const id of ["before", "after", "scene"]) fill($(id), entries, first);
  fill($("scenes"), entries, null);
}

async function loadModels() {
  const { models } = await ask("models");
  fill($("model"), models.map((model) => [model.name, model.name]), "fit to the scene itself");
}

// Starting a job

function chosenProcess() {
  return $("job-form").elements.process.value;
}

function showFields() {
  for (const field of $("job-form").querySelectorAll("[data-for]")) {
    field.hidden = !field.dataset.for.split(" ").includes(chosenProcess());
  }
}

function readValue(control) {
  if (control.multiple) return [...control.selectedOptions].map((option) => option.value);
  const text = control.value.trim();
  if (!text) return undefined;
  if (control.type === "number") return Number(text);
  if (control.id !== "aoi") return text;
  try {
    return JSON.parse(text);
  } catch {
    throw new Problem({ detail: "This is not JSON. Paste a GeoJSON geometry.", field: "aoi" });
  }
}

function readInputs(form) {
  const inputs = {};
  for (const field of form.querySelectorAll(".field:not([hidden])")) {
    const value = readValue(field.querySelector("input, select, textarea"));
    if (value !== undefined) inputs[field.dataset.field] = value;
  }
  return inputs;
}

async function startJob(event) {
  event.preventDefault();
  const form = event.target;
  const button = form.querySelector("button[type=submit]");
  clearErrors(form);
  button.disabled = true;
  try {
    await ask(`processes/${chosenProcess()}/execution`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ inputs: readInputs(form) }),
    });
    await loadJobs();
  } catch (error) {
    showError(form, error);
  } finally {
    button.disabled = false;
  }
}

async function uploadScene(event) {
  event.preventDefault();
  const form = event.target;
  const bar = $("upload-progress");
  const button = form.querySelector("button");
  clearErrors(form);
  $("upload-note").textContent = "";
  if (!$("file").files.length) {
    showError(form, new Problem({ detail: "Choose a GeoTIFF.", field: "file" }));
    return;
  }
  bar.hidden = false;
  button.disabled = true;
  try {
    const scene = await send("scenes", new FormData(form), (share) => {
      bar.value = share;
      if (share === 1) $("upload-note").textContent = "Reading and checking…";
    });
    $("upload-note").textContent = `Added ${describe(scene)}.`;
    form.reset();
    await loadScenes();
  } catch (error) {
    $("upload-note").textContent = "";
    showError(form, error);
  } finally {
    bar.hidden = true;
    button.disabled = false;
  }
}

// The list of jobs

function jobRow(job) {
  const existing = document.querySelector(`[data-job="${CSS.escape(job.jobID)}"]`);
  if (existing) return existing;
  const row = $("job-template").content.firstElementChild.cloneNode(true);
  row.dataset.job = job.jobID;
  row.querySelector(".show").onclick = () => openMap(job.jobID, row);
  row.querySelector(".stop").onclick = async () => {
    await ask(`jobs/${job.jobID}`, { method: "DELETE" }).catch(() => {});
    await loadJobs();
  };
  return row;
}

function drawJob(job) {
  const row = jobRow(job);
  const part = (selector) => row.querySelector(selector);
  const done = FINAL.has(job.status);
  row.className = `job ${job.status}`;
  part(".badge").textContent = job.status;
  part(".title").textContent = job.title;
  part(".kind").textContent = KINDS[job.processID] || job.processID;
  part("time").textContent = new Date(job.created).toLocaleString();
  part("time").dateTime = job.created;
  part("progress").value = job.progress;
  part("progress").hidden = done;
  part(".message").textContent =
    job.message || (job.status === "running" ? `${job.stage}, ${job.progress} %` : "");
  part(".show").hidden = job.status !== "successful" || job.processID === "train-model";
  part(".stop").hidden = done;
  part(".files").hidden = !job.outputs.length;
  drawFiles(part(".files div"), job);
  return row;
}

function drawFiles(box, job) {
  if (box.childElementCount === job.outputs.length) return;
  box.replaceChildren(
    ...job.outputs.map((name) => {
      const anchor = document.createElement("a");
      anchor.href = `jobs/${job.jobID}/files/${encodeURIComponent(name)}`;
      anchor.textContent = name;
      return anchor;
    }),
  );
}

async function loadJobs() {
  const { jobs, links } = await ask(`jobs?limit=${limit}`);
  const rows = jobs.map(drawJob);
  const list = $("jobs");
  // Moving a row that already is in its place would close its list of files.
  if (rows.some((row, index) => list.children[index] !== row)) list.replaceChildren(...rows);
  while (list.children.length > rows.length) list.lastElementChild.remove();
  $("no-jobs").hidden = jobs.length > 0;
  $("more").hidden = !links.some((link) => link.rel === "next");
  return jobs.some((job) => !FINAL.has(job.status));
}

function openMap(id, row) {
  $("viewer").hidden = false;
  $("viewer-title").textContent = row.querySelector(".title").textContent;
  $("viewer-open").href = `jobs/${id}/map`;
  $("viewer-map").src = `jobs/${id}/map`;
  $("viewer").scrollIntoView({ behavior: "smooth", block: "start" });
}

function closeMap() {
  $("viewer").hidden = true;
  $("viewer-map").src = "about:blank";
}

// One question for the whole list: a stream for each job would use up the
// six connections that a browser gives to one server.
async function keepWatching() {
  let busy = true;
  try {
    busy = await loadJobs();
    $("connection").textContent = "";
  } catch {
    $("connection").textContent = "The service does not answer; trying again.";
  }
  setTimeout(keepWatching, document.hidden ? 10000 : busy ? 1000 : 4000);
}

$("job-form").addEventListener("submit", startJob);
$("job-form").addEventListener("change", showFields);
$("upload-form").addEventListener("submit", uploadScene);
$("viewer-close").addEventListener("click", closeMap);
$("more").addEventListener("click", () => {
  limit += PAGE;
  loadJobs();
});
// Models come and go with training jobs: look again when somebody opens the list.
$("model").addEventListener("focus", () => loadModels().catch(() => {}));

showFields();
loadScenes().catch((error) => showError($("job-form"), error));
loadModels().catch((error) => showError($("job-form"), error));
keepWatching();
