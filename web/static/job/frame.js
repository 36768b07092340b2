// The map inside the result page. It has no origin (sandboxed frame), so it talks with the page
// around it by messages: numbers and names of layers only, and each of them is checked.

"use strict";

// eslint-disable-next-line no-unused-vars -- Folium's page calls it
function steer(map, layers, options) {
  const OPEN = { color: "#00e5ff", weight: 2, opacity: 1, fill: true, fillOpacity: 0 };
  const LOOKS = {
    open: OPEN,
    confirmed: { ...OPEN, color: "#ffe14d", weight: 3 },
    dismissed: { ...OPEN, color: "#c9d2d8", weight: 1.5, opacity: 0.7, dashArray: "4 4" },
  };
  const QUERY = /^[a-z0-9_=&.,+-]*$/;
  const outlines = new Map();
  const canvas = L.canvas({ padding: 0.5, tolerance: 6 });
  const group = L.layerGroup().addTo(map);
  const casing = L.polygon([], { ...OPEN, color: "#0b1318", weight: 7, interactive: false, renderer: canvas });
  const bright = L.polygon([], { ...OPEN, color: "#fff", weight: 3.5, interactive: false, renderer: canvas });
  // On the same canvas: another would lie above it and take the mouse away from the outlines.
  const pin = L.circleMarker([0, 0], {
    radius: 6, color: "#fff", weight: 3, fillColor: "#0b1318", fillOpacity: 1,
    interactive: false, renderer: canvas,
  });
  let selected = null;
  let hovered = null;

  const tell = (message) => parent.postMessage(message, "*");
  const finite = (...values) => values.every(Number.isFinite);
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

  // Anomalies

  function style(outline) {
    const look = LOOKS[outline.verdict] || OPEN;
    outline.setStyle(outline.number === hovered ? { ...look, weight: 5 } : look);
  }

  function drawAnomalies(features) {
    group.clearLayers();
    outlines.clear();
    for (const { id, geometry, verdict } of features) {
      const outline = L.GeoJSON.geometryToLayer({ type: "Feature", geometry }, { renderer: canvas });
      outline.options.bubblingMouseEvents = false;
      outline.number = id;
      outline.verdict = verdict;
      outline.setStyle(LOOKS[verdict] || OPEN);
      outline.on("mouseover", () => hover(id, true));
      outline.on("mouseout", () => hover(null, true));
      outline.on("click", (event) => {
        L.DomEvent.stopPropagation(event);
        tell({ type: "select", id });
        read(event);
      });
      outlines.set(id, outline);
      outline.addTo(group);
    }
    casing.addTo(group);
    bright.addTo(group);
    select(null, false);
  }

  function hover(id, mine) {
    const before = outlines.get(hovered);
    hovered = id;
    if (before) style(before);
    if (outlines.has(id)) style(outlines.get(id));
    if (mine) tell({ type: "hover", id });
  }

  function select(id, fly) {
    selected = outlines.has(id) ? id : null;
    const outline = outlines.get(selected);
    const ring = outline ? outline.getLatLngs() : [];
    casing.setLatLngs(ring);
    bright.setLatLngs(ring);
    casing.bringToFront();
    bright.bringToFront();
    if (!outline || !fly) return;
    const bounds = outline.getBounds();
    const animate = !matchMedia("(prefers-reduced-motion: reduce)").matches;
    const fitting = Math.min(map.getBoundsZoom(bounds.pad(0.3)), options.deepest);
    // Stepping through a list must not throw the view about: zoom only where it is needed.
    if (fitting < map.getZoom() || fitting - map.getZoom() > 4) {
      map.setView(bounds.getCenter(), Math.min(fitting, map.getZoom() + 3), { animate });
    } else if (!map.getBounds().pad(-0.15).contains(bounds)) {
      map.panTo(bounds.getCenter(), { animate });
    }
  }

  function mark(id, verdict) {
    const outline = outlines.get(id);
    if (!outline) return;
    outline.verdict = verdict;
    style(outline);
  }

  // Rasters

  function address(layer, query) {
    const [path, before] = (layer._url || "").split("?");
    const size = options.placed ? "" : "max_size=1024";
    const ticket = /ticket=[0-9a-f.]+/.exec(before);
    const all = [query, size, ticket && ticket[0]].filter(Boolean).join("&");
    return all ? `${path}?${all}` : path;
  }

  function showScene(name, query) {
    const layer = layers[name];
    if ((name === "before" || name === "after") && layer && QUERY.test(query)) {
      layer.setUrl(address(layer, query));
    }
  }

  function showMask(level, shown) {
    const alpha = document.getElementById("levels").dataset.alpha;
    const table = Array.from({ length: 256 }, (_, i) => (i >= level ? alpha : 0));
    document.getElementById("levels").setAttribute("tableValues", table.join(" "));
    toggle(layers.surprise, shown);
  }

  function toggle(layer, shown) {
    if (!layer) return;
    if (shown) layer.addTo(map);
    else layer.remove();
  }

  // Before and after

  const swipe = L.DomUtil.create("div", "swipe", map.getContainer());
  swipe.innerHTML =
    '<span>Before</span><span>After</span><button type="button" role="slider" ' +
    'aria-label="Swipe between before and after" aria-valuemin="0" aria-valuemax="100">⇔</button>';
  const handle = swipe.querySelector("button");
  let mode = "after";
  let share = 0.5;

  function showMode(wanted) {
    mode = layers.before ? wanted : "after";
    toggle(layers.before, mode !== "after");
    toggle(layers.after, mode !== "before");
    swipe.hidden = mode !== "swipe";
    cut();
  }

  function cut() {
    for (const name of ["before", "after"]) {
      const pane = map.getPane(name);
      if (!pane) continue;
      if (mode !== "swipe") {
        pane.style.clip = "";
        continue;
      }
      const size = map.getSize();
      const from = map.containerPointToLayerPoint([0, 0]);
      const to = map.containerPointToLayerPoint(size);
      const middle = from.x + size.x * share;
      const [left, right] = name === "before" ? [from.x, middle] : [middle, to.x];
      pane.style.clip = `rect(${from.y}px, ${right}px, ${to.y}px, ${left}px)`;
    }
    swipe.style.left = `${share * 100}%`;
    handle.setAttribute("aria-valuenow", Math.round(share * 100));
  }

  function swipeTo(value) {
    share = clamp(value, 0.02, 0.98);
    cut();
  }

  L.DomEvent.disableClickPropagation(swipe);
  handle.addEventListener("pointerdown", (event) => {
    handle.setPointerCapture(event.pointerId);
    map.dragging.disable();
  });
  handle.addEventListener("pointermove", (event) => {
    if (!handle.hasPointerCapture(event.pointerId)) return;
    const box = map.getContainer().getBoundingClientRect();
    swipeTo((event.clientX - box.left) / box.width);
  });
  handle.addEventListener("pointerup", () => map.dragging.enable());
  handle.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -0.02, ArrowRight: 0.02 }[event.key];
    if (!step) return;
    swipeTo(share + step);
    event.preventDefault();
    event.stopPropagation();
  });
  map.on("move zoomend viewreset resize", cut);

  // Reading a place

  function read(event) {
    tell({ type: "point", x: event.latlng.lng, y: event.latlng.lat });
  }

  function showPin(x, y) {
    if (finite(x, y)) pin.setLatLng([y, x]).addTo(map).bringToFront();
    else pin.remove();
  }

  map.on("click", read);
  const container = map.getContainer();
  container.classList.add("reading");
  container.setAttribute("role", "application");
  container.setAttribute("aria-label", "Map. Arrow keys move it, Enter reads the place in its middle.");
  container.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.target === container) read({ latlng: map.getCenter() });
  });

  // The page around

  const orders = {
    scene: ({ layer, query }) => showScene(layer, query),
    mode: ({ mode: wanted }) => ["before", "after", "swipe"].includes(wanted) && showMode(wanted),
    opacity: ({ value }) => finite(value) && layers.heatmap.setOpacity(clamp(value, 0, 1)),
    mask: ({ level, shown }) => finite(level) && showMask(level, Boolean(shown)),
    anomalies: ({ features, shown }) => {
      drawAnomalies(features);
      toggle(group, shown);
    },
    outlines: ({ shown }) => toggle(group, Boolean(shown)),
    select: ({ id, fly }) => select(id, Boolean(fly)),
    hover: ({ id }) => hover(id, false),
    mark: ({ id, verdict }) => mark(id, verdict),
    pin: ({ x, y }) => showPin(x, y),
    internet: ({ shown }) => toggle(layers.internet, Boolean(shown)),
    whole: () => map.fitBounds(options.box),
  };

  addEventListener("message", (event) => {
    if (event.source !== parent) return;
    const order = orders[event.data && event.data.type];
    if (order) order(event.data);
  });

  showMode("after");
  tell({ type: "ready" });
}
