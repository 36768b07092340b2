"""The files that a run publishes, each written under a temporary name, checked and renamed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import rasterio
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rio_stac import create_stac_item

from geoanomaly.results.legend import RAMP, surprise_at
from geoanomaly.results.preview import Picture, draw_preview
from geoanomaly.results.rasters import HEATMAP, MASK, NODATA, above, heatmap_profile, mask_profile
from geoanomaly.results.vectors import write_geojson, write_gpkg
from geoanomaly.scenes.inputs import Inputs
from geoanomaly.types import Anomaly
from tiling.cog import PlainTiles, plain_tiles, whole_file
from tiling.runner import ahead
from tiling.scratch import TileStore
from tiling.types import Tile

VECTORS = ("anomalies.gpkg", "anomalies.geojson")
OUTPUTS = (HEATMAP, MASK, *VECTORS, "item.json", "heatmap.qml", "preview.png", "run.json")

CACHE = 32 * 2**20
"""Bytes of blocks that GDAL keeps while files are written: it comes by each of them once or twice.
Only a job may say so, because it is one number for a whole process."""


@dataclass(frozen=True)
class Threshold:
    """Where the mask begins: expected share of normal pixels above, and the surprise that means.

    basis: what the expectation rests on, `Calibration.basis`.
    """

    false_alarm_rate: float
    basis: str

    @property
    def surprise(self) -> float:
        return surprise_at(self.false_alarm_rate)

    def tags(self) -> dict[str, str]:
        return {
            "GEOANOMALY_THRESHOLD": f"{self.surprise:.6f}",
            "GEOANOMALY_FALSE_ALARM_RATE": f"{self.false_alarm_rate:g}",
            "GEOANOMALY_CALIBRATION": self.basis,
        }


@dataclass(frozen=True)
class Tally:
    """Pixels that have a value, those above the threshold, and the highest value."""

    valid: int = 0
    above: int = 0
    highest: float = 0.0

    @classmethod
    def of(cls, core: NDArray[np.float32], mask: NDArray[np.uint8]) -> Tally:
        valid, hot = (int(np.count_nonzero(found)) for found in (mask != NODATA, mask == 1))
        return cls(valid, hot, float(np.fmax.reduce(core, axis=None, initial=0)))  # less NaN

    def plus(self, other: Tally) -> Tally:
        return Tally(
            self.valid + other.valid,
            self.above + other.above,
            max(self.highest, other.highest),
        )


@dataclass(frozen=True)
class PlainRasters:
    """Heatmap and mask before they are packed; heatmap, mask: files that can be read."""

    tiles: PlainTiles
    tally: Tally

    @property
    def heatmap(self) -> Path:
        return self.tiles.paths[1]

    @property
    def mask(self) -> Path:
        return self.tiles.paths[0]


@contextmanager
def plain_rasters(
    out: Path,
    store: TileStore,
    geobox: GeoBox,
    tiles: Iterable[Tile],
    threshold: Threshold,
    threads: int,
) -> Iterator[PlainRasters]:
    """On their way to `heatmap.tif` (surprise, NaN = nodata) and `mask.tif` (1 = above).

    tiles: those that the store has; the others have no data.
    """
    tally = Tally()

    def parts(tile: Tile) -> tuple[Tile, NDArray[np.uint8], NDArray[np.float32], Tally]:
        core = store.read(tile)
        mask = above(core, threshold.surprise)
        return tile, mask, core, Tally.of(core, mask)

    def cores() -> Iterator[tuple[Tile, tuple[NDArray[Any], NDArray[Any]]]]:
        nonlocal tally
        for tile, mask, core, part in ahead(parts, tiles, threads):
            tally = tally.plus(part)
            if part.valid:
                yield tile, (mask, core)

    # Packed in this order: of the two, the heatmap keeps all threads busy to the end.
    profiles = {
        out / MASK: mask_profile(threshold.tags()),
        out / HEATMAP: heatmap_profile(threshold.tags()),
    }
    with rasterio.Env(GDAL_CACHEMAX=CACHE), plain_tiles(profiles, geobox, cores()) as plain:
        yield PlainRasters(plain, tally)


def write_vectors(out: Path, anomalies: Sequence[Anomaly], crs: Any) -> None:
    """GeoPackage in the heatmap's CRS; GeoJSON in WGS 84 (RFC 7946), or in pixels without a CRS."""
    import geopandas  # slow to import, and not every command comes here

    shapes = np.empty(len(anomalies), dtype=object)
    shapes[:] = [each.geometry for each in anomalies]
    frame = geopandas.GeoDataFrame(
        {
            "id": [each.id for each in anomalies],
            "peak": [round(each.peak, 3) for each in anomalies],
            "mean": [round(each.mean, 3) for each in anomalies],
            "pixels": [each.pixels for each in anomalies],
            "area_m2": np.array(
                [np.nan if each.area_m2 is None else round(each.area_m2, 1) for each in anomalies],
                dtype=float,
            ),
            **dict(zip(("minx", "miny", "maxx", "maxy"), shapely.bounds(shapes).T, strict=True)),
            "row": [each.top[0] for each in anomalies],
            "col": [each.top[1] for each in anomalies],
        },
        geometry=shapes,
        crs=crs,
    )
    with whole_file(out / "anomalies.gpkg") as partial:
        write_gpkg(frame, partial)
    with whole_file(out / "anomalies.geojson") as partial:
        write_geojson(frame, partial)


def write_style(out: Path) -> None:
    """`heatmap.qml`: QGIS finds it beside the raster and shows the ramp of the web map."""
    items = "".join(
        f'<item value="{min(step.high, 1e4):g}" color="#{step.colour[0]:02x}{step.colour[1]:02x}'
        f'{step.colour[2]:02x}" alpha="{step.colour[3]}" label="{step.low:g} and up: '
        f'{step.meaning}"/>'
        for step in RAMP
    )
    text = f"""<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>
<qgis version="3.22" styleCategories="AllStyleCategories">
 <pipe>
  <rasterrenderer type="singlebandpseudocolor" band="1" opacity="1" alphaBand="-1"
    classificationMin="0" classificationMax="{RAMP[-1].low:g}">
   <rasterTransparency/>
   <rastershader>
    <colorrampshader colorRampType="DISCRETE" classificationMode="1" clip="0"
      minimumValue="0" maximumValue="{RAMP[-1].low:g}">{items}</colorrampshader>
   </rastershader>
  </rasterrenderer>
 </pipe>
</qgis>
"""
    with whole_file(out / "heatmap.qml") as partial:
        partial.write_text(text)


def write_preview(out: Path, scene: Picture, threshold: Threshold, doubt: str = "") -> None:
    """`preview.png`: the scene beside itself under the heatmap, with the legend and any doubt."""
    with whole_file(out / "preview.png") as partial:
        draw_preview(partial, scene, out / HEATMAP, threshold.surprise, threshold.basis, doubt)


def write_item(out: Path, inputs: Inputs, properties: Mapping[str, Any]) -> None:
    """`item.json`: a STAC item of the heatmap and its companions."""
    with whole_file(out / "item.json") as partial:
        partial.write_text(json.dumps(_item(out, inputs, properties), indent=1))


_COMPANIONS = {
    MASK: "image/tiff; application=geotiff; profile=cloud-optimized",
    "anomalies.gpkg": "application/geopackage+sqlite3",
    "anomalies.geojson": "application/geo+json",
    "preview.png": "image/png",
    "run.json": "application/json",
}


def _item(out: Path, inputs: Inputs, properties: Mapping[str, Any]) -> dict[str, Any]:
    item = _bare_item(out, inputs, properties)
    for name, media in _COMPANIONS.items():
        roles = ["overview"] if media == "image/png" else ["data"]
        key = name.replace(".", "-")
        item.add_asset(key, pystac.Asset(f"./{name}", media_type=media, roles=roles))
    return dict(item.to_dict(include_self_link=False))


def _bare_item(out: Path, inputs: Inputs, properties: Mapping[str, Any]) -> pystac.Item:
    """The item with its heatmap; without a CRS it has no place, and so no geometry."""
    date = inputs.scenes[-1].scene.date
    when = datetime.fromisoformat(date) if date else datetime.now(UTC)
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    name, media, roles = out.name or "heatmap", pystac.MediaType.COG, ["data"]
    if inputs.geobox.crs is None:
        item = pystac.Item(name, None, None, when, dict(properties))
        item.add_asset("heatmap", pystac.Asset(f"./{HEATMAP}", media_type=media, roles=roles))
        return item
    made = create_stac_item(
        str(out / HEATMAP),
        input_datetime=when,
        id=name,
        asset_name="heatmap",
        asset_href=f"./{HEATMAP}",
        asset_roles=roles,
        asset_media_type=media,
        properties=dict(properties),
        with_proj=True,
        with_raster=False,
    )
    # rio-stac writes an older version of the projection extension; reading migrates it.
    return pystac.Item.from_dict(made.to_dict(), migrate=True)


def write_run(out: Path, report: Mapping[str, Any]) -> None:
    """`run.json`: inputs with sha256, versions, parameters, timings, what was found."""
    with whole_file(out / "run.json") as partial:
        partial.write_text(json.dumps(report, indent=1, default=str))
