// The list of jobs: filtered by the service, kept up to date by asking what has changed.
// No stream of events: six of them would use up all connections that a browser gives a server.

import { ask, post } from "./api.js";
import { $, arrange, clock, copyOf, duration, make, moment } from "./text.js";

const FINAL = new Set(["successful", "failed", "dismissed"]);
const PAGE = 50;
const OVERLAP_MS = 3000;
const BUSY_MS = 1000;
const QUIET_MS = 4000;
const HIDDEN_MS = 15000;
const KINDS = { "detect-change": "change", "detect-anomaly": "one scene", "train-model": "training" };
const STATES = {
  accepted: "waiting", running: "running", successful: "done", failed: "failed", dismissed: "cancelled",
};

export class Jobs {
  /** on: {connection(text), opened(id or null), area(inputs or null),
   *   again(process, inputs), canShow(process, inputs)} */
  constructor(on) {
    this.on = on;
    this.jobs = new Map();
    this.rows = new Map();
    this.inputs = new Map();
    // Jobs that were looked up by their id, before the list came to them.
    this.beside = new Set();
    this.changed = 0;
    this.failures = 0;
    this.open = null;
    this.timer = 0;
    $("job-filter").addEventListener("submit", (event) => event.preventDefault());
    $("job-text").addEventListener("input", () => {
      clearTimeout(this.typing);
      this.typing = setTimeout(() => this.reload(), 250);
    });
    for (const id of ["job-status", "job-process"]) $(id).addEventListener("change", () => this.reload());
    $("older").addEventListener("click", () => this.older());
    document.addEventListener("visibilitychange", () => document.hidden || this.poll());
    addEventListener("online", () => this.poll());
  }

  // Asking

  query(values) {
    const filter = { q: $("job-text").value.trim(), processID: $("job-process").value, ...values };
    const given = Object.entries(filter).filter(([, value]) => value !== "" && value !== undefined);
    return `jobs?${new URLSearchParams(given)}`;
  }

  /** The first page of what the filter lets through. */
  async reload() {
    await this.asked({ status: $("job-status").value, limit: PAGE }, (found) => {
      this.jobs.clear();
      this.beside.clear();
      this.take(found.jobs);
      this.draw(found);
    });
  }

  async older() {
    const offset = this.jobs.size - this.beside.size;
    await this.asked({ status: $("job-status").value, limit: PAGE, offset }, (found) => {
      found.jobs.forEach((job) => this.beside.delete(job.jobID));
      this.take(found.jobs);
      this.draw(found);
      this.rows.get(found.jobs[0]?.jobID)?.querySelector(".title").focus();
    });
  }

  /** What has changed since the last answer; the service's clock counts, not ours. */
  async poll() {
    clearTimeout(this.timer);
    if (!this.changed) await this.reload();
    else {
      const since = new Date(this.changed - OVERLAP_MS).toISOString();
      await this.asked({ since, limit: 1000 }, (found) => {
        this.take(found.jobs.filter((job) => this.inReach(job)));
        this.draw({ ...found, links: null });
      });
    }
    const pause = document.hidden ? HIDDEN_MS : this.busy ? BUSY_MS : QUIET_MS;
    this.timer = setTimeout(() => this.poll(), Math.min(pause * 2 ** this.failures, HIDDEN_MS));
  }

  async asked(values, take) {
    const address = this.query(values);
    try {
      const found = await ask(address);
      this.failures = 0;
      this.on.connection("");
      // Typed on meanwhile: another answer is on its way.
      if (address === this.query(values)) take(found);
    } catch {
      this.failures += 1;
      this.on.connection("The service does not answer; trying again.");
    }
  }

  /** A change further down than the list reaches would leave a gap above it. */
  inReach(job) {
    if (this.jobs.has(job.jobID) || $("older").hidden) return true;
    const listed = [...this.jobs.values()].filter(({ jobID }) => !this.beside.has(jobID));
    return listed.some(({ created }) => created <= job.created);
  }

  take(jobs) {
    const wanted = $("job-status").value;
    for (const job of jobs) {
      this.changed = Math.max(this.changed, Date.parse(job.updated));
      const before = this.jobs.get(job.jobID);
      if (before && before.status !== job.status && FINAL.has(job.status)) {
        $("said").textContent = `${job.title}: ${STATES[job.status]}`;
      }
      if (wanted && job.status !== wanted) this.jobs.delete(job.jobID);
      else this.jobs.set(job.jobID, job);
    }
  }

  // Drawing

  draw({ counts, links }) {
    const shown = [...this.jobs.values()].sort((a, b) => b.created.localeCompare(a.created));
    const rows = shown.map((job) => this.row(job));
    arrange($("jobs"), rows);
    this.busy = counts.accepted + counts.running;
    $("busy").textContent = this.busy;
    $("busy").hidden = !this.busy;
    $("busy").title = `${this.busy} waiting or running`;
    if (links) $("older").hidden = !links.some((link) => link.rel === "next");
    const any = Object.values(counts).some(Boolean);
    $("no-jobs").hidden = shown.length > 0;
    $("no-jobs").textContent = any ? "No job is like that." : "No jobs yet.";
  }

  row(job) {
    const row = this.rows.get(job.jobID) || this.newRow(job.jobID);
    const version = `${job.updated} ${job.status} ${job.message}`;
    if (row.dataset.version !== version) this.fill(row, job, version);
    return row;
  }

  newRow(id) {
    const row = copyOf("job-template");
    row.dataset.job = id;
    const on = (selector, act) => row.querySelector(selector).addEventListener("click", act);
    on(".title", () => this.toggle(id));
    on(".stop", () => this.act(row, () => ask(`jobs/${id}`, { method: "DELETE" })));
    on(".retry", () => this.act(row, () => post(`jobs/${id}/retry`, {})));
    row.querySelector(".open").href = `ui/jobs/${id}`;
    this.rows.set(id, row);
    return row;
  }

  fill(row, job, version) {
    const part = (selector) => row.querySelector(selector);
    const done = FINAL.has(job.status);
    const picture = `jobs/${job.jobID}/thumbnail.png?${job.status}`;
    row.dataset.version = version;
    row.className = `job ${job.status}`;
    if (part("img").getAttribute("src") !== picture) part("img").src = picture;
    part(".title").textContent = job.title;
    part(".badge").textContent = STATES[job.status];
    part(".kind").textContent = KINDS[job.processID] + (job.detector ? `, ${job.detector}` : "");
    part("time").textContent = moment(job.created);
    part("time").dateTime = job.created;
    part(".took").textContent = tookOf(job);
    part("progress").hidden = done;
    part("progress").value = job.progress;
    part("progress").setAttribute("aria-label", `Progress of ${job.title}`);
    part(".message").textContent = messageOf(job);
    part(".message").hidden = !part(".message").textContent;
    part(".open").hidden = job.status !== "successful" || job.processID === "train-model";
    part(".open").setAttribute("aria-label", `Open ${job.title}`);
    part(".stop").hidden = done;
    part(".stop").setAttribute("aria-label", `Cancel ${job.title}`);
    part(".retry").hidden = !(job.status === "failed" || job.status === "dismissed");
    part(".retry").setAttribute("aria-label", `Retry ${job.title}`);
    if (this.open === job.jobID) this.loadDetails(row, job);
  }

  async act(row, request) {
    const message = row.querySelector(".message");
    try {
      await request();
      await this.poll();
    } catch (error) {
      message.textContent = error.message;
      message.hidden = false;
    }
  }

  // One job in full

  async toggle(id) {
    const was = this.open;
    if (was) this.close(this.rows.get(was));
    this.open = was === id ? null : id;
    this.on.opened(this.open);
    if (!this.open) {
      this.on.area(null);
      return;
    }
    const row = this.rows.get(id);
    row.querySelector(".title").setAttribute("aria-expanded", "true");
    row.querySelector(".details").hidden = false;
    await this.loadDetails(row, this.jobs.get(id));
    if (this.open !== id) return;
    this.on.area(this.inputs.get(id));
    row.scrollIntoView({ block: "nearest" });
  }

  close(row) {
    row.querySelector(".title").setAttribute("aria-expanded", "false");
    row.querySelector(".details").hidden = true;
  }

  /** Show a job that an address names, also when the list has not come to it yet. */
  async reveal(id) {
    if (!this.jobs.has(id)) {
      this.jobs.set(id, await ask(`jobs/${id}`));
      this.beside.add(id);
      $("jobs").append(this.row(this.jobs.get(id)));
    }
    if (this.open !== id) await this.toggle(id);
  }

  async loadDetails(row, job) {
    try {
      const [{ log }, inputs] = await Promise.all([ask(`jobs/${job.jobID}/log`), this.inputsOf(job)]);
      drawLog(row.querySelector(".log"), log);
      this.drawLinks(row, job, inputs);
      drawFiles(row.querySelector(".files"), job);
    } catch {
      // The next change of the job, or the next opening, asks again.
    }
  }

  async inputsOf(job) {
    if (!this.inputs.has(job.jobID)) {
      const { inputs } = await ask(`jobs/${job.jobID}`);
      this.inputs.set(job.jobID, inputs);
    }
    return this.inputs.get(job.jobID);
  }

  drawLinks(row, job, inputs) {
    if (row.querySelector(".links").childElementCount) return;
    const again = make("button", { type: "button", textContent: "Change and run again" });
    again.hidden = !this.on.canShow(job.processID, inputs);
    again.addEventListener("click", () => this.on.again(job.processID, inputs));
    const id = make("code", { textContent: job.jobID });
    row.querySelector(".links").replaceChildren(again, " ", id);
  }
}

/** How long it has run, by the clock of the service alone. */
function tookOf(job) {
  if (!job.started) return "";
  const seconds = (Date.parse(job.finished || job.updated) - Date.parse(job.started)) / 1000;
  return job.finished ? `took ${duration(seconds)}` : `for ${duration(seconds)}`;
}

function messageOf(job) {
  if (job.status === "running") {
    return [`${job.progress} %`, job.stage, job.message].filter(Boolean).join(" · ");
  }
  return job.message;
}

function drawLog(list, lines) {
  if (list.childElementCount === lines.length) return;
  list.replaceChildren(
    ...lines.map(({ at, stage, text }) => {
      const time = make("time", { dateTime: at, textContent: clock(at) });
      return make("li", {}, time, make("b", { textContent: stage }), make("span", { textContent: text }));
    }),
  );
  list.scrollTop = list.scrollHeight;
}

function drawFiles(box, job) {
  if (box.childElementCount === job.outputs.length) return;
  box.replaceChildren(
    ...job.outputs.map((name) => {
      const href = `jobs/${job.jobID}/files/${encodeURIComponent(name)}`;
      return make("a", { href, textContent: name, download: name });
    }),
  );
}
