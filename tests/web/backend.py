"""A real service on a loopback port, with a real store and finished jobs made by hand."""

from __future__ import annotations

import json
import shutil
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import geopandas
import httpx
import numpy as np
import rasterio
import uvicorn
from rasterio.transform import from_origin

from geoanomaly.intake.roots import is_inside
from geoanomaly.intake.taken import copy_of
from geoanomaly.jobs import JobStore
from geoanomaly.settings import Settings
from geoanomaly.types import Job, JobSpec, Price, Process, Progress, Scene
from web.app import create_app

CRS = "EPSG:32632"
SIDE = 300
ORIGIN = (500_000.0, 5_300_000.0)
PIXEL = 30.0
HOT = (100, 140)
"""Rows and columns of the planted change start and end here: a square."""


def transform() -> Any:
    return from_origin(*ORIGIN, PIXEL, PIXEL)


def write_raster(path: Path, data: Any, *, crs: str | None = CRS, **profile: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    grid = {"crs": crs, "transform": transform()} if crs else {}
    options = {"driver": "GTiff", "count": data.shape[0], "dtype": str(data.dtype)}
    options |= {"height": data.shape[1], "width": data.shape[2], **grid, **profile}
    with rasterio.open(path, "w", **options) as target:
        target.write(data)
    return path


def ground(seed: int, bands: int = 6) -> Any:
    """Reflectances with some texture, uint16 (band, y, x)."""
    rng = np.random.default_rng(seed)
    rows, cols = np.mgrid[0:SIDE, 0:SIDE]
    base = 9_000 + 1_500 * np.sin(rows / 23) * np.cos(cols / 31)
    noise = rng.normal(0, 250, (bands, SIDE, SIDE))
    return (base[None] * np.linspace(0.9, 1.6, bands)[:, None, None] + noise).astype("uint16")


def heat() -> Any:
    values = np.abs(np.random.default_rng(3).normal(0.2, 0.2, (1, SIDE, SIDE)))
    values = np.minimum(values, 0.9).astype("float32")
    values[0, HOT[0] : HOT[1], HOT[0] : HOT[1]] = 4.5
    values[0, :20, :] = np.nan
    return values


def square(*, crs: str | None) -> dict[str, Any]:
    """The outline of the hot square: in degrees, or in pixels without a CRS."""
    low, high = HOT
    corners = [(low, low), (high, low), (high, high), (low, high), (low, low)]
    polygon = {"type": "Polygon", "coordinates": [[list(map(float, c)) for c in corners]]}
    if crs is None:
        return polygon
    ring = [transform() * corner for corner in corners]
    placed = {"type": "Polygon", "coordinates": [ring]}
    found: dict[str, Any] = rasterio.warp.transform_geom(crs, "EPSG:4326", placed)
    return found


def publish_outputs(folder: Path, *, crs: str | None = CRS) -> tuple[str, ...]:
    """What a finished detection leaves behind."""
    values = heat()
    write_raster(folder / "heatmap.tif", values, crs=crs, nodata=np.nan, tiled=True)
    mask = np.where(np.isnan(values), 255, values > 2).astype("uint8")
    write_raster(folder / "mask.tif", mask, crs=crs, nodata=255, tiled=True)
    properties = {"id": 1, "peak": 4.5, "mean": 4.5, "area_m2": 1_440_000.0, "note": "${alert(1)}"}
    feature = {"type": "Feature", "properties": properties, "geometry": square(crs=crs)}
    collection = {"type": "FeatureCollection", "features": [feature]}
    (folder / "anomalies.geojson").write_text(json.dumps(collection))
    frame = geopandas.GeoDataFrame.from_features(collection, crs=crs and "EPSG:4326")
    frame = frame.to_crs(crs) if crs else frame
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "'crs' was not provided", UserWarning)
        frame.to_file(folder / "anomalies.gpkg", layer="anomalies")
    (folder / "run.json").write_text("{}")
    (folder / "secret.txt").write_text("not an output")
    return ("heatmap.tif", "mask.tif", "anomalies.gpkg", "anomalies.geojson", "run.json")


@dataclass
class Backend:
    """The service under test. rung: ids for which the bell was rung."""

    url: str
    settings: Settings
    store: JobStore
    http: httpx.Client
    rung: list[str] = field(default_factory=list)

    def pair(self, *, crs: str | None = CRS) -> tuple[Path, Path]:
        root = self.settings.scene_roots[0]
        name = "plain" if crs is None else "placed"
        return (
            write_raster(root / f"{name}-before.tif", ground(1), crs=crs, tiled=True),
            write_raster(root / f"{name}-after.tif", ground(2), crs=crs, tiled=True),
        )

    def accept(self, **changes: Any) -> Job:
        before, after = self.pair()
        scenes = (Scene(str(before), title="Before"), Scene(str(after), title="After"))
        values: dict[str, Any] = {"process": Process.DETECT_CHANGE, "scenes": scenes} | changes
        values["scenes"] = tuple(map(self._taken, values["scenes"]))
        return self.store.create(JobSpec(**values))

    def _taken(self, scene: Scene) -> Scene:
        """As a worker leaves a scene of the archive: with a copy that is the service's own."""
        path = Path(scene.href)
        if not path.is_file() or not is_inside(path, self.settings.scene_roots):
            return scene
        copy = copy_of(path, self.settings)
        copy.parent.mkdir(exist_ok=True)
        shutil.copy(path, copy)
        return replace(scene, href=str(copy), origin=str(path))

    def finish(self, job: Job, *, crs: str | None = CRS) -> Job:
        lease = self.store.claim(job.id, "test", 60, 3)
        assert lease is not None
        folder = self.settings.jobs_dir / job.id
        folder.mkdir(parents=True)
        self.store.report(lease, Progress("writing", 99.0, "Writing"))
        self.store.succeed(lease, publish_outputs(folder, crs=crs))
        return self.store.get(job.id)

    def finished_pair(self, *, crs: str | None = CRS) -> Job:
        before, after = self.pair(crs=crs)
        scenes = (Scene(str(before), title="Before"), Scene(str(after), title="After"))
        return self.finish(self.accept(scenes=scenes), crs=crs)


def verdict(spec: JobSpec, _: Settings) -> Price:
    """The price of a job without opening its scenes; the intake has its own tests."""
    return Price(SIDE * SIDE, 1, (SIDE, SIDE), spec.sensor or "generic", ("taken as generic",))


def fake_check(spec: JobSpec, settings: Settings) -> Price:
    """What the application asks; a test may put another `verdict` in place."""
    return verdict(spec, settings)


@contextmanager
def serving(app: Any) -> Iterator[str]:
    """Runs an application on a free loopback port in a thread; gives its address."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    give_up = time.monotonic() + 20
    while not server.started:
        assert thread.is_alive()
        assert time.monotonic() < give_up
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)


@contextmanager
def running_backend(folder: Path, **changes: Any) -> Iterator[Backend]:
    """changes: of the settings."""
    roots = (folder / "archive",)
    roots[0].mkdir()
    values = {"data_dir": folder / "data", "scene_roots": roots, "max_upload_bytes": 4_000_000}
    settings = Settings(**{**values, **changes})
    rung: list[str] = []

    def ring(job_id: str, _: Settings) -> bool:
        rung.append(job_id)
        return True

    app = create_app(settings, check=fake_check, ring=ring)
    with serving(app) as url, httpx.Client(base_url=url, timeout=30) as http:
        yield Backend(url, settings, app.state.service.store, http, rung)
