// The map beside the form: base map, footprints, chosen scenes, the area. Leaflet draws it;
// Geoman draws and edits. Nothing here knows the form.

import { boxOf } from "./geometry.js";

const L = window.L;
const OSM = "https://tile.openstreetmap.org/{z}/{x}/{y}.png";
const CREDIT = '&copy; <a href="https://www.openstreetmap.org/copyright">OpenStreetMap</a>';
const LATER_MS = 150;
const POINTED_MS = 250;
const STILL = matchMedia("(prefers-reduced-motion: reduce)").matches;
const DRAWN = { className: "area", weight: 2 };

/** The deepest zoom at which a scene has pixels of its own. */
function nativeZoom(scene) {
  const [west, south, east, north] = boxOf(scene.footprint);
  const metres = ((north - south) * 111320) / scene.height;
  const wide = ((east - west) * 111320 * Math.cos((south * Math.PI) / 180)) / scene.width;
  const zoom = Math.log2((156543 * Math.cos((south * Math.PI) / 180)) / Math.max(0.01, Math.min(metres, wide)));
  return Math.max(1, Math.min(22, Math.ceil(zoom)));
}

const boundsOf = (geometry) => {
  const [west, south, east, north] = boxOf(geometry);
  return L.latLngBounds([south, west], [north, east]);
};

function pictureOf(scene, zIndex) {
  const layer = L.tileLayer(`scenes/${scene.id}/tiles/{z}/{x}/{y}.png`, {
    bounds: boundsOf(scene.footprint), maxZoom: 22, maxNativeZoom: nativeZoom(scene),
    pane: "pictures", zIndex, className: "pixels",
  });
  layer.sceneId = scene.id;
  return layer;
}

export class Chart {
  /** on: {area(geometry or null), scene(id), drawing(shape or null)} */
  constructor(element, on) {
    this.on = on;
    this.map = L.map(element, {
      zoomSnap: 0.5, worldCopyJump: true, maxZoom: 22, zoomAnimation: !STILL,
      // Two dates that fade into each other look like a third one.
      fadeAnimation: false,
    });
    this.map.attributionControl.setPrefix(false);
    this.map.fitBounds([[-55, -150], [72, 160]], { animate: false });
    this.map.createPane("land").style.zIndex = 150;
    this.map.createPane("base").style.zIndex = 160;
    this.map.createPane("pictures").style.zIndex = 250;
    this.footprints = L.featureGroup().addTo(this.map);
    this.outlines = new Map();
    this.pictures = new Map();
    this.job = L.layerGroup().addTo(this.map);
    this.excluded = L.layerGroup().addTo(this.map);
    this.area = null;
    L.control.scale({ imperial: false }).addTo(this.map);
    this.addBaseMaps();
    this.addPosition();
    this.prepareDrawing();
    new ResizeObserver(() => this.map.invalidateSize({ pan: false })).observe(element);
  }

  addBaseMaps() {
    const internet = L.tileLayer(OSM, { attribution: CREDIT, maxZoom: 22, maxNativeZoom: 19, pane: "base" });
    internet.on("tileerror", () => {
      if (!this.map.hasLayer(internet)) return;
      this.map.removeLayer(internet);
      this.on.note("OpenStreetMap cannot be reached: the map without internet is shown.");
    });
    this.layers = L.control
      .layers({}, { "OpenStreetMap (internet)": internet, Footprints: this.footprints }, { collapsed: false })
      .addTo(this.map);
    // The form and the list come first.
    setTimeout(() => this.addLand().catch(() => {}), LATER_MS);
  }

  async addLand() {
    const response = await fetch("static/vendor/world-atlas/countries.geojson");
    const style = { className: "land", weight: 0.8 };
    const options = { pane: "land", interactive: false, smoothFactor: 0.5, pmIgnore: true, style };
    L.geoJSON(await response.json(), options).addTo(this.map);
  }

  addPosition() {
    const control = L.control({ position: "bottomleft" });
    control.onAdd = () => L.DomUtil.create("div", "position");
    control.addTo(this.map);
    const box = control.getContainer();
    this.map.on("mousemove", ({ latlng }) => {
      const place = latlng.wrap();
      box.textContent = `${place.lat.toFixed(5)}, ${place.lng.toFixed(5)}`;
    });
    this.map.on("mouseout", () => {
      box.textContent = "";
    });
  }

  // Scenes

  /** roles: from the id of a scene to the word for what it is in the job. */
  showScenes(scenes, roles) {
    const shown = new Set(scenes.map((scene) => scene.id));
    for (const [id, outline] of this.outlines) {
      if (shown.has(id)) continue;
      outline.remove();
      this.footprints.removeLayer(outline);
      this.outlines.delete(id);
    }
    for (const scene of scenes) {
      if (!scene.footprint) continue;
      if (!this.outlines.has(scene.id)) this.outlines.set(scene.id, this.outlineOf(scene));
      const outline = this.outlines.get(scene.id);
      const role = roles.get(scene.id) || "";
      const path = outline.getElement();
      path?.setAttribute("class", `footprint leaflet-interactive ${role}`);
      if (role) outline.bringToFront();
    }
    this.area?.bringToFront();
  }

  outlineOf(scene) {
    const style = { className: "footprint", weight: 1.5, fill: true };
    const outline = L.geoJSON(scene.footprint, { style, pmIgnore: true }).getLayers()[0];
    outline.on("click", () => this.drawing || this.on.scene(scene.id));
    return outline.addTo(this.footprints);
  }

  /** Point out a scene of the list, and lay its picture on top for as long. */
  pointOut(scene, on) {
    this.outlines.get(scene.id)?.getElement()?.classList.toggle("hot", on);
    clearTimeout(this.waiting);
    this.pointed?.remove();
    if (!on || !scene.footprint) return;
    // Not for each row that the pointer passes over.
    this.waiting = setTimeout(() => {
      this.pointed = pictureOf(scene, 20).addTo(this.map);
    }, POINTED_MS);
  }

  /** Lay the pictures of chosen scenes on the map: [{scene, role, label}], the last one on top. */
  showPictures(chosen) {
    for (const [role, layer] of this.pictures) {
      if (chosen.some((each) => each.role === role && each.scene.id === layer.sceneId)) continue;
      this.layers.removeLayer(layer);
      layer.remove();
      this.pictures.delete(role);
    }
    for (const [index, { scene, role, label }] of chosen.entries()) {
      if (this.pictures.has(role) || !scene.footprint) continue;
      const layer = pictureOf(scene, index + 1);
      this.pictures.set(role, layer.addTo(this.map));
      this.layers.addOverlay(layer, label);
    }
  }

  fit(...geometries) {
    const all = geometries.map(boundsOf).reduce((sum, each) => sum.extend(each));
    this.map.fitBounds(all, { padding: [30, 30], animate: !STILL, duration: 0.4 });
  }

  sees(geometry) {
    return this.map.getBounds().intersects(boundsOf(geometry)) && this.map.getZoom() >= 4;
  }

  /** Where a job is, on the scene that it looks at, where that is known. */
  showJob(geometry, scene) {
    this.job.clearLayers();
    if (scene?.footprint) pictureOf(scene, 9).addTo(this.job);
    if (!geometry) return;
    L.geoJSON(geometry, { interactive: false, pmIgnore: true, style: { className: "job-area", weight: 2 } }).addTo(this.job);
    this.fit(geometry);
  }

  showExcluded(geometry) {
    this.excluded.clearLayers();
    const style = { className: "excluded", weight: 2 };
    if (geometry) L.geoJSON(geometry, { interactive: false, pmIgnore: true, style }).addTo(this.excluded);
  }

  // The area

  prepareDrawing() {
    this.drawing = null;
    this.map.pm.setGlobalOptions({
      snappable: false, allowSelfIntersection: false, continueDrawing: false,
      pathOptions: DRAWN, templineStyle: DRAWN, hintlineStyle: { ...DRAWN, dashArray: "5 5" },
    });
    this.map.on("pm:create", ({ layer }) => {
      this.setDrawing(null);
      this.takeArea(layer);
      this.on.area(this.areaGeometry());
    });
    this.map.on("pm:drawend", () => this.setDrawing(null));
  }

  setDrawing(shape) {
    if (this.drawing === shape) return;
    this.drawing = shape;
    this.map.getContainer().classList.toggle("drawing", Boolean(shape));
    this.on.drawing(shape);
  }

  draw(shape) {
    this.stopEditing();
    this.map.pm.enableDraw(shape);
    this.setDrawing(shape);
  }

  stopDrawing() {
    this.map.pm.disableDraw();
    this.setDrawing(null);
  }

  get editing() {
    return Boolean(this.area?.pm?.enabled());
  }

  edit() {
    this.stopDrawing();
    this.area?.pm.enable({ allowSelfIntersection: false, draggable: false });
  }

  stopEditing() {
    this.area?.pm?.disable();
  }

  takeArea(layer) {
    this.area?.remove();
    this.area = layer;
    layer.addTo(this.map);
    layer.on("pm:edit", () => this.on.area(this.areaGeometry()));
  }

  showArea(geometry) {
    this.stopDrawing();
    this.stopEditing();
    this.area?.remove();
    this.area = null;
    if (!geometry) return;
    this.takeArea(L.geoJSON(geometry, { style: DRAWN }).getLayers()[0]);
    this.fit(geometry);
  }

  areaGeometry() {
    return this.area ? this.area.toGeoJSON(7).geometry : null;
  }
}

export const canDraw = Boolean(L && L.PM);
