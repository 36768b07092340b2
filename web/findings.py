"""Anomalies at a threshold, as the page of a result lists and draws them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import shapely
from numpy.typing import NDArray
from rasterio.crs import CRS

from geoanomaly.jobs import Judgement
from geoanomaly.results.places import Places
from geoanomaly.results.polygons import Polygons
from geoanomaly.results.regions import FLOOR, Hot, Region, areas, centre, outlines


@dataclass(frozen=True)
class Findings:
    """Regions at a threshold, one entry each, those with most evidence first.

    keys: `Region.key`; tops (region, 2): x, y of the highest pixel; bounds (region, 4); drawn:
        their polygons, None where nobody asked. All in the heatmap's CRS.
    area_m2: NaN without a CRS.
    above, valid: pixels of the heatmap at the threshold or above it, and with a value at all.
    floor, highest: thresholds between which there is something to find.
    """

    crs: Any
    keys: Sequence[str]
    tops: NDArray[np.float64]
    bounds: NDArray[np.float64]
    peak: NDArray[np.float64]
    mean: NDArray[np.float64]
    pixels: NDArray[np.int64]
    area_m2: NDArray[np.float64]
    drawn: Polygons | None
    above: int
    valid: int
    floor: float
    highest: float


def of_regions(hot: Hot, found: Sequence[Region], threshold: float, *, draw: bool) -> Findings:
    return Findings(
        crs=hot.crs,
        keys=[region.key for region in found],
        tops=np.array([centre(region, hot.transform) for region in found]).reshape(-1, 2),
        bounds=np.array([region.bounds for region in found]).reshape(-1, 4),
        peak=np.array([region.peak for region in found]),
        mean=np.array([region.mean for region in found]),
        pixels=np.array([region.pixels for region in found], dtype=np.int64),
        area_m2=areas(hot, found),
        drawn=outlines(found, hot.transform) if draw else None,
        above=int((hot.surprise >= threshold).sum()),
        valid=hot.valid,
        floor=hot.floor,
        highest=hot.highest,
    )


def published(
    heatmap: Path, vectors: Path, report: Mapping[str, Any], *, draw: bool
) -> Findings | None:
    """Those of the run's own threshold, without reading the heatmap; None from an older run.

    vectors: its anomalies.gpkg; report: its run.json.
    """
    import pyogrio  # it imports geopandas, which takes half a second

    if "surprise" not in report:
        return None
    meta, _, shapes, columns = pyogrio.raw.read(vectors, read_geometry=draw)
    table = dict(zip(meta["fields"], columns, strict=True))
    with rasterio.open(heatmap) as raster:
        crs, transform = raster.crs, raster.transform
    x, y = transform @ (table["col"] + 0.5, table["row"] + 0.5)
    return Findings(
        crs=crs,
        keys=[f"{row}-{col}" for row, col in zip(table["row"], table["col"], strict=True)],
        tops=np.stack([x, y], axis=1),
        bounds=np.stack([table[name] for name in ("minx", "miny", "maxx", "maxy")], axis=1),
        peak=table["peak"],
        mean=table["mean"],
        pixels=table["pixels"],
        area_m2=table["area_m2"],
        drawn=shapely.from_wkb(shapes) if draw else None,
        above=report["surprise"]["above"],
        valid=report["valid"]["pixels"],
        floor=FLOOR,
        highest=max(FLOOR, report["surprise"]["highest"]),
    )


def highest(vectors: Path, count: int) -> list[dict[str, Any]]:
    """GeoJSON features of the anomalies with the highest peaks, in WGS 84, or in pixels (x, row)
    where there is no CRS.

    vectors: anomalies.gpkg, whose database sorts thousands in the time of reading a few.
    """
    import pyogrio

    meta, _, shapes, columns = pyogrio.raw.read(
        vectors, sql=f"SELECT * FROM anomalies ORDER BY peak DESC LIMIT {count:d}"
    )
    drawn = shapely.from_wkb(shapes)
    if crs := meta["crs"]:
        drawn = _degrees(drawn, Places(CRS.from_user_input(crs)))
    values = zip(*(column.tolist() for column in columns), strict=True)
    return [
        {
            "type": "Feature",
            "properties": dict(zip(meta["fields"].tolist(), row, strict=True)),
            "geometry": json.loads(shape),
        }
        for shape, row in zip(shapely.to_geojson(drawn), values, strict=True)
    ]


def geojson(found: Findings, threshold: float, judged: Mapping[str, Judgement]) -> str:
    """A GeoJSON FeatureCollection in the map's coordinates (`Places`), as text.

    Geometries stay the text that GEOS makes of them: as objects of Python they would take
    ten times as long.
    """
    places = Places(found.crs)
    head = {
        "type": "FeatureCollection",
        "threshold": max(threshold, found.floor),
        "floor": found.floor,
        "highest": found.highest,
        "above": found.above,
        "valid": found.valid,
    }
    shapes = _geometries(found, places)
    features = ",".join(
        f'{{"type":"Feature","id":{number},"geometry":{shape},"properties":{json.dumps(values)}}}'
        for number, (shape, values) in enumerate(
            zip(shapes, _properties(found, places, judged), strict=True), start=1
        )
    )
    return f'{json.dumps(head)[:-1]},"features":[{features}]}}'


def _geometries(found: Findings, places: Places) -> Sequence[str]:
    if found.drawn is None:
        return ["null"] * len(found.keys)
    return list(shapely.to_geojson(_degrees(found.drawn, places)))


def _degrees(shapes: Polygons, places: Places) -> Polygons:
    # Eight decimals of a degree are a millimetre.
    return np.asarray(shapely.transform(places.geometries(shapes), lambda xy: xy.round(8)))


def _properties(
    found: Findings, places: Places, judged: Mapping[str, Judgement]
) -> Iterator[dict[str, Any]]:
    columns = {
        "peak": found.peak.round(3).tolist(),
        "mean": found.mean.round(3).tolist(),
        "pixels": found.pixels.tolist(),
        "area_m2": [round(area, 1) if area == area else None for area in found.area_m2.tolist()],
        "bounds": found.bounds.tolist(),
    }
    xy = places.points(found.tops).round(8).tolist()
    for number, (key, (x, y)) in enumerate(zip(found.keys, xy, strict=True)):
        said = judged.get(key)
        yield {
            "key": key,
            **{name: values[number] for name, values in columns.items()},
            "x": x,
            "y": y,
            "verdict": said.verdict.value if said else None,
            "note": said.note if said else "",
        }
