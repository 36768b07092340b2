"""The frozen values that flow through a job, from the request to the published files.

Nothing here opens a file, a socket or a database. `tiling.types` has the
values of the inner loop (`Tile`, `TileBatch`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry


IGNORABLE = ("water",)


class Process(StrEnum):
    """What can be asked for; the values are the OGC process identifiers."""

    DETECT_CHANGE = "detect-change"
    DETECT_ANOMALY = "detect-anomaly"
    TRAIN_MODEL = "train-model"


@dataclass(frozen=True)
class AOI:
    """An area of interest: a valid polygon or multipolygon; `crs` in a form that pyproj reads.

    note: what was done to make it valid, in a sentence for the user.
    """

    geometry: BaseGeometry
    crs: str = "EPSG:4326"
    note: str = ""


@dataclass(frozen=True)
class Scene:
    """Where pixels come from: a recipe, never an open handle.

    href: path or URL that GDAL can open.
    sensor: a name of `geoanomaly.scenes.sensors`; None = guessed from the file.
    date: ISO 8601 date of acquisition, when known.
    title: what to call it on a map; never used to open anything.
    mask: what to leave out of it: a raster or polygons, see `geoanomaly.scenes.masks`.
    origin: path or URL that the request named, where `href` is the service's own copy of it.
    """

    href: str
    sensor: str | None = None
    date: str | None = None
    title: str | None = None
    mask: Scene | None = None
    origin: str | None = None

    @property
    def label(self) -> str:
        """What to call it in messages: its title, else the name of its file."""
        return self.title or PurePath(self.href).name


@dataclass(frozen=True)
class Setting:
    """What is known of a job's scenes before a pixel is read: detectors choose by it.

    sensors, bands, log: one entry a scene: names of `geoanomaly.scenes.sensors`, band names, and
        whether it is worked on in the log domain.
    pixel_size: of the grid in metres; None = unknown.
    """

    sensors: tuple[str, ...]
    bands: tuple[tuple[str, ...], ...]
    log: tuple[bool, ...]
    pixel_size: float | None = None


@dataclass(frozen=True)
class JobSpec:
    """A request: all that a worker needs to do the job, again from nothing if it must.

    scenes: (before, after) for detect-change, (scene,) for detect-anomaly,
        the normal scenes for train-model.
    model: name of a trained model; None = fit to the scene itself.
    name: of the model that train-model makes.
    detector: a name of `geoanomaly.detectors`; None = the default of the process.
    exclude: polygons to leave out of training.
    false_alarm_rate: expected share of normal pixels above the threshold, in (0, 0.5).
    tile_size: core of a tile in pixels; None = from the settings.
    ignore: kinds of ground to leave out, of `IGNORABLE`.
    anyway: make the map also of scenes that cannot be compared.
    history: for detect-change, scenes of the place earlier than `after`, in any order.
    """

    process: Process
    scenes: tuple[Scene, ...]
    aoi: AOI | None = None
    sensor: str | None = None
    detector: str | None = None
    model: str | None = None
    name: str | None = None
    exclude: AOI | None = None
    false_alarm_rate: float = 0.01
    tile_size: int | None = None
    seed: int = 0
    ignore: tuple[str, ...] = ()
    anyway: bool = False
    history: tuple[Scene, ...] = ()

    @property
    def before(self) -> Scene | None:
        return self.scenes[0] if self.process is Process.DETECT_CHANGE else None

    @property
    def after(self) -> Scene:
        """The scene whose grid the heatmap has."""
        return self.scenes[-1]

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict; `from_json` restores an equal spec."""
        return {
            "process": self.process.value,
            "scenes": [asdict(scene) for scene in self.scenes],
            "aoi": area_to_json(self.aoi),
            "sensor": self.sensor,
            "detector": self.detector,
            "model": self.model,
            "name": self.name,
            "exclude": area_to_json(self.exclude),
            "false_alarm_rate": self.false_alarm_rate,
            "tile_size": self.tile_size,
            "seed": self.seed,
            "ignore": list(self.ignore),
            "anyway": self.anyway,
            "history": [asdict(scene) for scene in self.history],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> JobSpec:
        values = dict(data)
        values["process"] = Process(values["process"])
        values["scenes"] = tuple(_scene_from_json(scene) for scene in values["scenes"])
        values["ignore"] = tuple(values.get("ignore", ()))
        values["history"] = tuple(_scene_from_json(scene) for scene in values.get("history", ()))
        values["aoi"] = area_from_json(values.get("aoi"))
        values["exclude"] = area_from_json(values.get("exclude"))
        return cls(**values)


@dataclass(frozen=True)
class Price:
    """What a job will cost, known before it is accepted.

    shape: (height, width) of the output in pixels; notes: what was found and done
    about it (sensor guessed, before scene resampled, ...), in sentences for the user.
    """

    pixels: int
    tiles: int
    shape: tuple[int, int]
    sensor: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Progress:
    """How far a job is. stage: a short word ("reading", "fitting", "scoring", "writing").

    percent: of the whole job, 0 to 100, never falling.
    message: one line for the user, with rate and time left where they are known.
    """

    stage: str
    percent: float
    message: str = ""


Report = Callable[[Progress], None]
"""Told of progress between tiles and training steps; raises JobCancelledError to stop the job."""


def silent(_: Progress) -> None:
    """A `Report` for callers that do not watch."""


class JobStatus(StrEnum):
    """The states of a job, by their OGC names. The last three are final."""

    ACCEPTED = "accepted"
    RUNNING = "running"
    SUCCESSFUL = "successful"
    FAILED = "failed"
    DISMISSED = "dismissed"

    @property
    def final(self) -> bool:
        return self in (JobStatus.SUCCESSFUL, JobStatus.FAILED, JobStatus.DISMISSED)


@dataclass(frozen=True)
class Job:
    """The record of a job as the database has it. Times are UTC and aware.

    attempt: how many leases it has had; outputs: names of published files.
    tenant: whose it is; "" where nobody needs a key.
    """

    id: str
    spec: JobSpec
    status: JobStatus
    progress: Progress
    created: datetime
    updated: datetime
    started: datetime | None = None
    finished: datetime | None = None
    attempt: int = 0
    cancel_requested: bool = False
    outputs: tuple[str, ...] = ()
    tenant: str = ""


@dataclass(frozen=True)
class Anomaly:
    """A connected group of pixels above the threshold, with its evidence.

    geometry: polygon, or parts that touch at corners, in the heatmap's CRS (pixel
        coordinates where there is none).
    top: (row, column) of its highest pixel.
    area_m2: geodesic area; None without a CRS.
    peak, mean: surprise (-log10 of the share of normal pixels that score as high).
    """

    id: int
    geometry: BaseGeometry
    top: tuple[int, int]
    pixels: int
    area_m2: float | None
    peak: float
    mean: float


@dataclass(frozen=True)
class RunResult:
    """What a finished run left behind: the files it published and what it has to say of itself."""

    outputs: tuple[str, ...]
    summary: Mapping[str, Any] = field(default_factory=dict)


def _scene_from_json(data: Mapping[str, Any]) -> Scene:
    mask = data.get("mask")
    return Scene(**{**data, "mask": _scene_from_json(mask) if mask else None})


def area_to_json(area: AOI | None) -> dict[str, Any] | None:
    from shapely.geometry import mapping  # a tenth of a second that `--help` need not wait

    if area is None:
        return None
    note = {"note": area.note} if area.note else {}
    return {"geometry": mapping(area.geometry), "crs": area.crs, **note}


def area_from_json(data: Mapping[str, Any] | None) -> AOI | None:
    from shapely.geometry import shape

    if data is None:
        return None
    return AOI(shape(data["geometry"]), data["crs"], data.get("note", ""))
