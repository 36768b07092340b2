// The little geometry that a page needs, on GeoJSON in degrees.

const RADIUS_KM = 6371.0088;
const radians = (degrees) => (degrees * Math.PI) / 180;

const polygons = (geometry) =>
  geometry.type === "MultiPolygon" ? geometry.coordinates : [geometry.coordinates];

/** Area of a ring on the sphere in km², without sign. */
function ringArea(ring) {
  let sum = 0;
  for (let i = 0; i < ring.length; i++) {
    const [x1, y1] = ring[i];
    const [x2, y2] = ring[(i + 1) % ring.length];
    sum += radians(x2 - x1) * (2 + Math.sin(radians(y1)) + Math.sin(radians(y2)));
  }
  return Math.abs((sum * RADIUS_KM * RADIUS_KM) / 2);
}

export function areaOf(geometry) {
  let sum = 0;
  for (const [outer, ...holes] of polygons(geometry)) {
    sum += ringArea(outer) - holes.reduce((total, hole) => total + ringArea(hole), 0);
  }
  return sum;
}

export const cornersOf = (geometry) => polygons(geometry).reduce((n, [outer]) => n + outer.length - 1, 0);

/** [west, south, east, north] */
export function boxOf(geometry) {
  const box = [Infinity, Infinity, -Infinity, -Infinity];
  for (const [outer] of polygons(geometry)) {
    for (const [x, y] of outer) {
      box[0] = Math.min(box[0], x);
      box[1] = Math.min(box[1], y);
      box[2] = Math.max(box[2], x);
      box[3] = Math.max(box[3], y);
    }
  }
  return box;
}

function holds(ring, [x, y]) {
  let inside = false;
  for (let i = 0, j = ring.length - 1; i < ring.length; j = i++) {
    const [xi, yi] = ring[i];
    const [xj, yj] = ring[j];
    if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) inside = !inside;
  }
  return inside;
}

/** Whether a footprint, which has no dents, covers all of an area. */
export function covers(footprint, area) {
  const [outline] = footprint.coordinates;
  return polygons(area).every(([outer]) => outer.every((corner) => holds(outline, corner)));
}

export function rectangle(west, south, east, north) {
  const ring = [[west, south], [east, south], [east, north], [west, north], [west, south]];
  return { type: "Polygon", coordinates: [ring] };
}

/** What somebody typed: four numbers or GeoJSON. Throws with what would do. */
export function readTyped(text) {
  const numbers = text.split(/[\s,;]+/).filter(Boolean).map(Number);
  if (numbers.length === 4 && numbers.every(Number.isFinite)) {
    const [west, south, east, north] = numbers;
    if (west >= east || south >= north) {
      throw new Error("Give west before east and south before north.");
    }
    if (west < -180 || east > 180 || south < -90 || north > 90) {
      throw new Error("Degrees of longitude lie in -180 to 180, of latitude in -90 to 90.");
    }
    return rectangle(west, south, east, north);
  }
  let found;
  try {
    found = JSON.parse(text);
  } catch {
    throw new Error("Give four numbers (west, south, east, north) or GeoJSON.");
  }
  if (found?.type === "FeatureCollection" && found.features?.length === 1) found = found.features[0];
  if (found?.type === "Feature") found = found.geometry;
  if (!["Polygon", "MultiPolygon"].includes(found?.type)) {
    throw new Error("This GeoJSON is no Polygon or MultiPolygon. Several features: open them as a file.");
  }
  return found;
}
