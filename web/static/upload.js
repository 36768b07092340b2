// GeoTIFFs on their way to the service, each with its own progress and its own error.

import { send } from "./api.js";
import { $, copyOf } from "./text.js";

const RASTER = /\.tiff?$/i;

/** The date that a file name has, as satellites' archives write it: 20240714 or 2024-07-14. */
function dateIn(name) {
  const found = name.match(/(?<!\d)((?:19|20)\d\d)[-_.]?(0[1-9]|1[0-2])[-_.]?(0[1-9]|[12]\d|3[01])(?!\d)/);
  return found ? found.slice(1).join("-") : "";
}

export class Uploads {
  /** onScene: told of each scene that was taken in; onArea: of a dropped file that is no raster. */
  constructor({ onScene, onArea }) {
    this.onScene = onScene;
    this.onArea = onArea;
    this.waiting = [];
    this.busy = false;
    $("open-upload").addEventListener("click", () => $("upload-dialog").showModal());
    $("upload-close").addEventListener("click", () => $("upload-dialog").close());
    $("upload-start").addEventListener("click", () => this.start());
    $("file").addEventListener("change", ({ target }) => {
      this.add([...target.files]);
      target.value = "";
    });
    this.watchDrops();
    addEventListener("beforeunload", (event) => {
      if (this.busy) event.preventDefault();
    });
  }

  watchDrops() {
    const holdsFiles = (event) => event.dataTransfer?.types.includes("Files");
    document.addEventListener("dragover", (event) => {
      if (!holdsFiles(event)) return;
      event.preventDefault();
      $("drop").hidden = false;
    });
    document.addEventListener("dragleave", (event) => {
      if (!event.relatedTarget) $("drop").hidden = true;
    });
    document.addEventListener("drop", (event) => {
      if (!holdsFiles(event)) return;
      event.preventDefault();
      $("drop").hidden = true;
      this.sort([...event.dataTransfer.files]);
    });
  }

  sort(files) {
    const rasters = files.filter((file) => RASTER.test(file.name));
    const other = files.find((file) => !RASTER.test(file.name));
    if (other) this.onArea(other);
    if (!rasters.length) return;
    if (!$("upload-dialog").open) $("upload-dialog").showModal();
    this.add(rasters);
  }

  add(files) {
    for (const file of files) {
      const row = copyOf("upload-template");
      row.querySelector(".title").textContent = file.name;
      row.querySelector(".date").value = dateIn(file.name);
      row.querySelector(".date").setAttribute("aria-label", `Date of ${file.name}`);
      row.querySelector(".sensor").setAttribute("aria-label", `Sensor of ${file.name}`);
      row.querySelector(".remove").setAttribute("aria-label", `Remove ${file.name}`);
      const upload = { file, row };
      row.querySelector(".remove").addEventListener("click", () => this.remove(upload));
      $("uploads").append(row);
      this.waiting.push(upload);
    }
    this.draw();
  }

  remove(upload) {
    this.waiting = this.waiting.filter((each) => each !== upload);
    upload.row.remove();
    this.draw();
  }

  draw() {
    $("upload-start").disabled = this.busy || !this.waiting.length;
  }

  /** One after the other: together they would only share the same line. */
  async start() {
    this.busy = true;
    this.draw();
    const failed = [];
    while (this.waiting.length) {
      const upload = this.waiting.shift();
      if (!(await this.sendOne(upload))) failed.push(upload);
    }
    this.waiting = failed;
    this.busy = false;
    this.draw();
    if (!failed.length) $("upload-close").focus();
  }

  async sendOne({ file, row }) {
    const [bar, note] = [row.querySelector("progress"), row.querySelector(".note")];
    const form = new FormData();
    form.append("file", file);
    form.append("date", row.querySelector(".date").value);
    form.append("sensor", row.querySelector(".sensor").value);
    row.classList.remove("bad");
    row.querySelector(".remove").hidden = true;
    bar.hidden = false;
    try {
      const scene = await send("scenes", form, (share) => {
        bar.value = share;
        note.textContent = share < 1 ? `${Math.round(share * 100)} %` : "Reading and checking…";
      });
      note.textContent = "Added.";
      row.classList.add("done");
      row.querySelectorAll("label").forEach((label) => label.remove());
      this.onScene(scene);
      return true;
    } catch (error) {
      note.textContent = error.message;
      row.classList.add("bad");
      row.querySelector(".remove").hidden = false;
      return false;
    } finally {
      bar.hidden = true;
    }
  }
}
