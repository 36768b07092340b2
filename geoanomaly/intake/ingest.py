"""A raster that somebody sent becomes a scene: written anew in the sandbox, then recorded.

Later stages open only the file that the sandbox wrote (`geoanomaly.intake.cleaning`).
"""

from __future__ import annotations

import hashlib
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.warp import transform_geom

from geoanomaly.intake.workrooms import workroom
from geoanomaly.jobs import SceneRecord
from geoanomaly.sandbox.supervisor import Limits, Share, Subject, sandbox
from geoanomaly.settings import Settings
from tiling.cog import publish

LOOK_SECONDS, LOOK_CPU = 10.0, 2
"""A header is read in milliseconds; the wall time is for a machine under load."""

SLOWEST = 2 * 2**20
"""Bytes of pixels a second that reading, writing and reading back make at least."""


def ingest(
    upload: Path,
    settings: Settings,
    *,
    title: str,
    sensor: str | None = None,
    date: str | None = None,
) -> SceneRecord:
    """Take `upload` into `settings.scenes_dir`; nothing is left there when it fails."""
    scene_id = uuid.uuid4().hex[:12]
    path = settings.scenes_dir / f"{scene_id}.tif"
    take_in(upload.resolve(), path, settings, name="The file", field="file")
    return _record(scene_id, path, title=title, sensor=sensor, date=date)


def take_in(
    raw: Path,
    path: Path,
    settings: Settings,
    *,
    name: str,
    field: str,
    share: Share | None = None,
) -> None:
    """Write `raw` anew at `path`, whole or not at all; SceneError says what is wrong with it.

    raw: its real path, which was checked; name: what to call it in messages; share: told
    how much is done, may raise to stop.
    """
    box, subject = sandbox(settings), Subject(name, field)
    common = described(raw, settings, name=name, field=field)
    header = Limits(cpu=LOOK_CPU, seconds=LOOK_SECONDS, readable=[raw])
    size = box.call("look", {**common, "max_pixels": settings.max_pixels}, header, subject).value
    seconds = size["decoded"] // SLOWEST
    path.parent.mkdir(parents=True, exist_ok=True)
    with workroom(path.parent.resolve()) as folder:
        limits = Limits(
            cpu=LOOK_CPU + seconds,
            seconds=LOOK_SECONDS + 4 * seconds,
            file_bytes=2 * size["decoded"] + 64 * 2**20,
            readable=[raw],
            writable=[folder],
        )
        box.call("clean", {**common, "folder": str(folder)}, limits, subject, share)
        publish(folder / "clean.tif", path)


def described(raw: Path, settings: Settings, *, name: str, field: str) -> dict[str, Any]:
    """A raster as the tasks of the sandbox are told of it."""
    return {"path": str(raw), "name": name, "field": field, "drivers": settings.raster_drivers}


def _record(
    scene_id: str, path: Path, *, title: str, sensor: str | None, date: str | None
) -> SceneRecord:
    with rasterio.open(path) as scene, path.open("rb") as file:
        return SceneRecord(
            id=scene_id, path=str(path), title=title, sensor=sensor, date=date,
            width=scene.width, height=scene.height, bands=_band_names(scene), dtype=scene.dtypes[0],
            crs=scene.crs.to_string() if scene.crs else None, footprint=_footprint(scene),
            sha256=hashlib.file_digest(file, "sha256").hexdigest(), created=datetime.now(UTC),
        )  # fmt: skip


def _footprint(scene: rasterio.DatasetReader) -> dict[str, Any] | None:
    """The outline of the grid in WGS 84; None where its CRS leads to no place there."""
    if not scene.crs:
        return None
    # Nine points a side: a straight edge in the scene's CRS is a curve in degrees.
    steps = np.linspace(0.0, 1.0, 9)[:-1]
    edge = [(t, 0.0) for t in steps] + [(1.0, t) for t in steps]
    edge += [(1 - t, 1.0) for t in steps] + [(0.0, 1 - t) for t in steps]
    ring = [_corner(scene, x, y) for x, y in [*edge, edge[0]]]
    try:
        outline: dict[str, Any] = transform_geom(
            scene.crs, "EPSG:4326", {"type": "Polygon", "coordinates": [ring]}
        )
    except Exception:  # the errors of GDAL that it raises share no public class
        return None
    return outline if _finite(outline["coordinates"]) else None


def _finite(rings: Any) -> bool:
    return bool(np.isfinite(np.concatenate([np.asarray(ring).ravel() for ring in rings])).all())


def _corner(scene: rasterio.DatasetReader, x: float, y: float) -> tuple[float, float]:
    """A place on the grid (0 to 1 across and down) in the scene's CRS."""
    grid, col, row = scene.transform, x * scene.width, y * scene.height
    return (grid.a * col + grid.b * row + grid.c, grid.d * col + grid.e * row + grid.f)


def _band_names(scene: rasterio.DatasetReader) -> tuple[str, ...]:
    return tuple(text or f"band {i}" for i, text in enumerate(scene.descriptions, 1))
