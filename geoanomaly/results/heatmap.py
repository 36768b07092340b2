"""A finished result in Python: the heatmap, its anomalies and its map, which Jupyter shows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.errors import RasterioError

from geoanomaly.errors import NotFoundError, SceneError
from geoanomaly.results.pictures import Backdrop
from geoanomaly.results.portable import portable_map
from geoanomaly.scenes.info import inspect
from geoanomaly.scenes.sensors import display_bands
from geoanomaly.types import JobSpec, Scene

if TYPE_CHECKING:
    import geopandas

HEIGHT = 560
SAMPLE_SIDE = 512


@dataclass(frozen=True)
class Heatmap:
    """The folder that `geoanomaly detect --out` wrote, or that a client downloaded.

    The last line of a notebook's cell shows it as a map that needs no internet. The scenes
    lie under the heatmap where they are still found.
    """

    folder: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", Path(self.folder))
        if not self.path.is_file():
            raise NotFoundError(f"{self.folder} has no heatmap.tif: is it the folder of a result?")

    @property
    def path(self) -> Path:
        return self.folder / "heatmap.tif"

    @cached_property
    def report(self) -> Mapping[str, Any]:
        """What the run said of itself (`run.json`); empty when that is gone."""
        path = self.folder / "run.json"
        return dict(json.loads(path.read_text())) if path.is_file() else {}

    @property
    def values(self) -> NDArray[np.float32]:
        """Surprise, (y, x), NaN where there is none."""
        with rasterio.open(self.path) as raster:
            return np.asarray(raster.read(1))

    @property
    def anomalies(self) -> geopandas.GeoDataFrame:
        """In the heatmap's CRS, the strongest first."""
        import geopandas

        return geopandas.read_file(self.folder / "anomalies.gpkg")

    def to_html(self) -> str:
        """The map as one HTML page that opens offline."""
        path = self.folder / "anomalies.geojson"
        features = json.loads(path.read_text())["features"] if path.is_file() else []
        return portable_map(
            self.path,
            tuple(self._backdrops()),
            features,
            threshold=self.report.get("threshold", {}).get("surprise", 2.0),
            basis=self.report.get("model", {}).get("calibration_kind", ""),
            doubts=self.report.get("comparability", {}).get("reasons", ()),
        )

    def _repr_html_(self) -> str:
        # In a frame of its own: the notebook's styles and the map's keep apart.
        return (
            f'<iframe srcdoc="{escape(self.to_html())}" sandbox="allow-scripts allow-popups" '
            f'style="width: 100%; height: {HEIGHT}px; border: 0"></iframe>'
        )

    def _backdrops(self) -> Iterator[Backdrop]:
        spec = JobSpec.from_json(self.report["spec"]) if "spec" in self.report else None
        scenes = spec.scenes if spec else ()
        titles = ("Before", "After") if len(scenes) > 1 else ("Scene",)
        for scene, title in zip(scenes, titles, strict=False):
            assert spec is not None
            if Path(scene.href).is_file():
                yield _backdrop(scene, scene.sensor or spec.sensor, title)


def _backdrop(scene: Scene, sensor: str | None, title: str) -> Backdrop:
    """In the scene's default colours, stretched from 2 to 98 % of a small version of it."""
    info = inspect(scene, field="scene", sensor=sensor)
    shown = next(iter(display_bands(info.band_names).values()))
    bands = tuple(info.source.bands[band - 1] for band in shown)
    try:
        with rasterio.open(scene.href) as raster:
            step = max(1.0, max(raster.shape) / SAMPLE_SIDE)
            shape = (len(bands), *(max(1, round(side / step)) for side in raster.shape))
            sample = raster.read(
                list(bands), out_shape=shape, masked=True, resampling=Resampling.nearest
            )
    except RasterioError as error:
        raise SceneError(f"{scene.href} cannot be read: {error}.", field="scene") from None
    ranges = (
        np.percentile(band.compressed(), (2, 98)) if band.count() else (0, 1) for band in sample
    )
    return Backdrop(title, Path(scene.href), bands, tuple((float(a), float(b)) for a, b in ranges))
