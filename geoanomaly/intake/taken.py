"""Scenes that a request names by path or address: jobs read clean copies of them.

A copy's name is made of the file's path, size and time of change, so that it is known
before the copy is there, and a second job finds the first one's. The request is priced
in the sandbox while a copy is missing; the worker then takes in what it needs.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from shapely.geometry import mapping

from geoanomaly.errors import SceneError, ServiceError
from geoanomaly.intake.fetch import asset_href, fetch, version_of
from geoanomaly.intake.ingest import described, take_in
from geoanomaly.intake.prices import price
from geoanomaly.intake.roots import allowed_path
from geoanomaly.intake.sent_areas import sent_area_file
from geoanomaly.intake.workrooms import workroom
from geoanomaly.sandbox.supervisor import Limits, Subject, sandbox
from geoanomaly.scenes.area_files import looks_like_vectors
from geoanomaly.scenes.inputs import FIELDS, MASK_FIELDS
from geoanomaly.settings import Settings
from geoanomaly.types import JobSpec, Price, Process, Progress, Report, RunResult, Scene
from tiling.cog import publish

POLYGONS = ".geojson"
FETCHES = 4
_fetching = threading.BoundedSemaphore(FETCHES)
"""Each keeps a thread of the web server; others have to be left for all else."""

CHECK_SECONDS, CHECK_CPU = 60.0, 30
"""For a scene with no valid pixel, which has to be read from end to end."""


def local_scene(href: str, settings: Settings, *, field: str) -> Scene:
    """The scene behind a path of a request; SceneError unless it lies in the roots."""
    path = allowed_path(href, settings.scene_roots, field=field)
    return Scene(str(copy_of(path, settings)), title=path.name, origin=str(path))


def remote_scene(url: str, asset: str | None, settings: Settings, *, field: str) -> Scene:
    """The scene behind an https address, or behind an asset of a STAC item: fetched at once.

    It cannot be priced otherwise. The same version of it is fetched once.
    """
    if asset is not None:
        url = asset_href(url, asset, settings, field=field)
    # A server that names no version may have another content each time.
    version = version_of(url, settings, field=field) or uuid.uuid4().hex
    title = PurePosixPath(unquote(urlsplit(url).path)).name or "scene"
    scene = Scene(str(_named(f"{url}\0{version}", settings)), title=title, origin=url)
    if not Path(scene.href).is_file():
        _fetch(scene, settings, field)
    return scene


def _fetch(scene: Scene, settings: Settings, field: str) -> None:
    if not _fetching.acquire(blocking=False):
        raise ServiceError(f"{FETCHES} scenes are being fetched already. Ask again in a moment.")
    try:
        settings.taken_dir.mkdir(parents=True, exist_ok=True)
        with workroom(settings.taken_dir.resolve()) as folder:
            raw = folder / "fetched.tif"
            fetch(str(scene.origin), raw, settings, field=field)
            take_in(raw, Path(scene.href), settings, name=scene.label, field=field)
    finally:
        _fetching.release()


def local_mask(href: str, settings: Settings, *, field: str) -> Scene:
    """As `local_scene`, or polygons, which are small and taken in at once."""
    raster = local_scene(href, settings, field=field)
    path = Path(str(raster.origin))
    if not looks_like_vectors(path):
        return raster
    copy = copy_of(path, settings).with_suffix(POLYGONS)
    if not copy.is_file():
        _write_polygons(path, copy, settings)
    return replace(raster, href=str(copy))


def _write_polygons(path: Path, copy: Path, settings: Settings) -> None:
    copy.parent.mkdir(parents=True, exist_ok=True)
    with workroom(copy.parent.resolve()) as folder:
        # A copy in a folder of its own: GDAL finds no other file beside it.
        sent = Path(shutil.copyfile(path, folder / "sent"))
        found = sent_area_file(sent, path.name, settings)
        clean = folder / "clean.geojson"
        clean.write_text(json.dumps(mapping(found.area.geometry)))
        publish(clean, copy)


def copy_of(path: Path, settings: Settings) -> Path:
    """Where the clean copy of a raster is, or will be."""
    found = path.stat()
    words = f"{path}\0{found.st_size}\0{found.st_mtime_ns}\0{found.st_ino}"
    return _named(words, settings)


def _named(words: str, settings: Settings) -> Path:
    # By its real path: the sandbox stands in another folder.
    name = hashlib.sha256(words.encode()).hexdigest()[:32]
    return settings.taken_dir.resolve() / f"{name}.tif"


def check(spec: JobSpec, settings: Settings) -> Price:
    """`intake.check`, in the sandbox as long as a scene has not been taken in."""
    waiting = [
        (field, each) for field, each in _waiting(spec) if not _at_once(each, settings, field)
    ]
    if not waiting:
        return price(spec, settings)
    raws = [_still_allowed(scene, settings, field) for field, scene in waiting]
    placed = settings.model_copy(update={"data_dir": settings.data_dir.resolve()})
    kept = {"data_dir", "max_pixels", "tenant", "tile_size"}
    arguments = {
        "spec": _from_origins(spec).to_json(),
        "settings": placed.model_dump(mode="json", include=kept),
        "rasters": [
            described(raw, settings, name=scene.label, field=field)
            for raw, (field, scene) in zip(raws, waiting, strict=True)
        ],
    }
    clean = [Path(scene.href).resolve() for _, scene in _scenes(spec)]
    limits = Limits(
        cpu=CHECK_CPU,
        seconds=CHECK_SECONDS,
        readable=[*raws, *clean, placed.models_dir],
    )
    field, scene = waiting[0]
    found = sandbox(settings).call("check", arguments, limits, Subject(scene.label, field))
    return _price(found.value)


def _price(said: dict[str, Any]) -> Price:
    """JSON knows no tuples."""
    return Price(**{**said, "shape": tuple(said["shape"]), "notes": tuple(said["notes"])})


Run = Callable[..., RunResult]
"""`geoanomaly.pipeline.run`."""


def taking_in(run: Run) -> Run:
    """The same, that first takes in what the job names and nobody has taken in yet."""

    def prepared(
        spec: JobSpec, *, out: Path, scratch: Path, settings: Settings, report: Report
    ) -> RunResult:
        take_in_all(spec, settings, report)
        return run(spec, out=out, scratch=scratch, settings=settings, report=report)

    return prepared


def take_in_all(spec: JobSpec, settings: Settings, report: Report) -> None:
    """Make the copies that are missing; `report` may raise to stop."""
    for field, scene in _waiting(spec):

        def share(done: float, scene: Scene = scene) -> None:
            report(Progress("taking in", 0, f"{scene.label}: {done:.0%} checked and copied"))

        share(0.0)
        if not _at_once(scene, settings, field):
            raw = _still_allowed(scene, settings, field)
            take_in(raw, Path(scene.href), settings, name=scene.label, field=field, share=share)


def _at_once(scene: Scene, settings: Settings, field: str) -> bool:
    """Take it in again, if it is of a kind that was taken in when it was named."""
    copy = Path(scene.href)
    if str(scene.origin).startswith("https://"):
        _fetch(scene, settings, field)
    elif copy.suffix == POLYGONS:
        _write_polygons(_still_allowed(scene, settings, field), copy, settings)
    else:
        return False
    return True


def _still_allowed(scene: Scene, settings: Settings, field: str) -> Path:
    """The file itself: links may point elsewhere by now, and the file may have changed."""
    assert scene.origin is not None
    path = allowed_path(scene.origin, settings.scene_roots, field=field)
    if copy_of(path, settings).stem != Path(scene.href).stem:
        raise SceneError(
            f"{scene.origin} has changed since the job was asked for. Ask for it again.",
            field=field,
        )
    return path


def _waiting(spec: JobSpec) -> Iterator[tuple[str, Scene]]:
    """Scenes without their copy, each once, with the field that names them."""
    seen = set()
    for field, scene in _scenes(spec):
        if scene.origin is not None and scene.href not in seen and not Path(scene.href).is_file():
            seen.add(scene.href)
            yield field, scene


def _scenes(spec: JobSpec) -> Iterator[tuple[str, Scene]]:
    """All scenes of a request, masks and history too, each with its field."""
    training = spec.process is Process.TRAIN_MODEL
    names = ("scenes",) * len(spec.scenes) if training else FIELDS[spec.process]
    mask_names = names if training else MASK_FIELDS[spec.process]
    for scene, field, mask_field in zip(spec.scenes, names, mask_names, strict=False):
        yield field, scene
        if scene.mask is not None:
            yield mask_field, scene.mask
    yield from (("history", scene) for scene in spec.history)


def _from_origins(spec: JobSpec) -> JobSpec:
    """The same request of the files themselves, where they have no copy."""

    def original(scene: Scene) -> Scene:
        mask = original(scene.mask) if scene.mask else None
        there = scene.origin is None or Path(scene.href).is_file()
        return replace(scene, mask=mask, href=scene.href if there else str(scene.origin))

    scenes, history = map(original, spec.scenes), map(original, spec.history)
    return replace(spec, scenes=tuple(scenes), history=tuple(history))
