// What can be taken away, at the threshold that is shown and in the CRS that is chosen.

import { ask, JOB } from "./ask.js";
import { $, make, trouble } from "./page.js";

const PATIENCE = 400;
const FILES = [
  ["everything.zip", "Everything", "all files below, with the QGIS style and the run's report"],
  ["heatmap.tif", "Heatmap", "GeoTIFF (COG), surprise"],
  ["mask.tif", "Mask", "GeoTIFF (COG), above the threshold"],
  ["anomalies.gpkg", "Anomalies", "GeoPackage"],
  ["anomalies.geojson", "", "GeoJSON, WGS 84"],
  ["anomalies.parquet", "", "GeoParquet"],
  ["anomalies.kml", "", "KML, WGS 84"],
  ["anomalies.csv", "", "CSV"],
  ["map.png", "Map", "PNG, A4 at 300 dpi, with legend and scale bar"],
  ["map.html", "", "HTML in one file, opens offline"],
];

const SYSTEMS = [
  ["EPSG:4326", "WGS 84, degrees"],
  ["EPSG:3857", "Web Mercator"],
];

export function fillTake(view, threshold) {
  const links = FILES.filter(([name]) => view.placed || !name.endsWith(".kml")).map(
    ([name, title, what]) => {
      const link = make("a", { href: `${JOB}/exports/${name}`, download: name, text: what });
      link.dataset.name = name;
      link.addEventListener("click", (event) => take(event, link));
      return make("li", {}, make("b", { text: title }), link);
    },
  );
  const crs = make("input", {
    id: "crs",
    list: "systems",
    placeholder: view.crs,
    autocomplete: "off",
    spellcheck: "false",
    pattern: "[A-Za-z]{3,5}:[0-9A-Za-z]{2,12}",
  });
  const systems = make(
    "datalist",
    { id: "systems" },
    ...SYSTEMS.map(([value, text]) => make("option", { value, text })),
  );
  const update = () => {
    const query = new URLSearchParams({ surprise: threshold() });
    if (crs.value.trim() && crs.checkValidity()) query.set("crs", crs.value.trim());
    for (const link of $("take-sheet").querySelectorAll("a[data-name]")) {
      link.href = `${JOB}/exports/${link.dataset.name}?${query}`;
    }
  };
  const choice = make("label", { class: "crs" }, "CRS of the files ", crs, systems);
  choice.hidden = !view.placed;
  crs.addEventListener("input", update);
  $("take").addEventListener("toggle", update);
  const alone = make("a", { href: `${JOB}/map`, target: "_blank", rel: "noopener", text: "on a page of its own, with layers" });
  links.push(make("li", {}, make("b"), alone));
  $("take-sheet").replaceChildren(choice, make("ul", { class: "files" }, ...links));
  if (view.placed) $("take-sheet").append(...services(view.ticket));
}

/** The service makes the file first, and tells how far it is; hanging up stops it. */
function take(event, link) {
  // The click at the end, and one with a key that opens it elsewhere, are the browser's.
  if (!event.isTrusted || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  if ("making" in link.dataset) return;
  const { href } = link;
  const address = href.replace(/(\?|$)/, "/progress$1");
  const bar = make("progress", { max: 100, "aria-label": `Progress of ${link.dataset.name}` });
  const stage = make("small", { role: "status" });
  const stop = make("button", { type: "button", class: "quiet", text: "Cancel" });
  const box = make("div", { class: "making" }, bar, stage, stop);
  // What is there at once needs no bar.
  const shown = setTimeout(() => link.after(box), PATIENCE);
  link.dataset.making = "";
  const told = new EventSource(address);
  const end = () => {
    told.close();
    clearTimeout(shown);
    box.remove();
    delete link.dataset.making;
  };
  stop.addEventListener("click", () => {
    end();
    link.focus();
  });
  told.addEventListener("progress", ({ data }) => {
    const { stage: name, percent } = JSON.parse(data);
    bar.value = percent;
    stage.textContent = name === "waiting" ? "waiting for other exports" : `${percent} %, ${name}`;
  });
  told.addEventListener("problem", ({ data }) => {
    end();
    trouble(new Error(JSON.parse(data).detail));
  });
  told.addEventListener("done", () => {
    end();
    const taken = make("a", { href, download: link.dataset.name });
    taken.click();
  });
  told.addEventListener("error", () => {
    // While it connects again by itself, the file is made anew.
    if (told.readyState !== EventSource.CLOSED) return;
    end();
    // A stream that is refused does not say why.
    ask(address).catch(trouble);
  });
}

function services(ticket) {
  const here = new URL(JOB, location.href).href;
  const tiles = `${here}/tiles/heatmap`;
  const query = ticket ? `?ticket=${ticket}` : "";
  const found = [
    make("h2", { text: "In QGIS" }),
    address("XYZ", `${tiles}/tiles/WebMercatorQuad/{z}/{x}/{y}.png${query}`),
    address("WMTS", `${tiles}/WMTSCapabilities.xml${query}`),
  ];
  const secret = "Whoever has one of these addresses can see the tiles of this job for a week.";
  if (ticket) found.push(make("p", { text: secret }));
  return found;
}

function address(name, url) {
  const field = make("input", { readonly: "", value: url, "aria-label": `${name} address` });
  const copy = make("button", { type: "button", text: "Copy" });
  field.addEventListener("focus", () => field.select());
  copy.addEventListener("click", async () => {
    field.focus();
    // Only secure pages may use the clipboard; the address is selected in any case.
    await navigator.clipboard?.writeText(url).catch(() => {});
    copy.textContent = "Copied";
  });
  return make("div", { class: "address" }, make("b", { text: name }), field, copy);
}
