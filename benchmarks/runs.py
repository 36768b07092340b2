"""One run: a detector on a set with a seed, through the real pipeline, judged by the label."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import geoanomaly
import tiling
from benchmarks import ablations
from benchmarks.sets import LabelledSet
from geoanomaly.errors import GeoanomalyError
from geoanomaly.evaluation.evaluate import evaluate_files
from geoanomaly.intake.check import check
from geoanomaly.results.rasters import HEATMAP
from geoanomaly.settings import Settings
from geoanomaly.types import JobSpec, silent
from tiling.cog import whole_file

LIBRARIES = ("numpy", "scipy", "scikit-learn", "torch", "rasterio")
_CRASHED = "crashed:"


@dataclass(frozen=True)
class Task:
    """keep: whether the heatmap is wanted too."""

    set: LabelledSet
    detector: str
    seed: int
    keep: bool = False

    @property
    def name(self) -> str:
        return _name(self.set.name, self.detector, self.seed)


@dataclass(frozen=True)
class Record:
    """What a run gave. evaluation: of `Evaluation.to_dict`, None where `error` says why not.

    seconds: of each step of the job, of all, and of the processor's time for all.
    notes: what the run says of itself.
    """

    set: str
    detector: str
    seed: int
    evaluation: Mapping[str, Any] | None
    seconds: Mapping[str, float]
    notes: tuple[str, ...] = ()
    error: str | None = None

    @property
    def name(self) -> str:
        """Of its task."""
        return _name(self.set, self.detector, self.seed)

    @property
    def crashed(self) -> bool:
        return self.error is not None and self.error.startswith(_CRASHED)

    @property
    def figures(self) -> tuple[float, ...]:
        """What a reader of the tables sees of it."""
        if self.evaluation is None:
            return ()
        shipped = self.evaluation["shipped"]
        ranked = (self.evaluation[key] for key in ("average_precision", "roc_auc"))
        return (*ranked, shipped["false_alarm_rate"], shipped["f1"])


def _name(name: str, detector: str, seed: int) -> str:
    return f"{name} {detector} seed {seed}"


class Cache:
    """Records and heatmaps by what they were made from; a stopped benchmark goes on from here."""

    def __init__(self, folder: Path) -> None:
        self.code = code_digest()
        self.folder = folder / self.code[:16]

    def record(self, task: Task) -> Record | None:
        path = self._path(task, ".json")
        if not path.is_file():
            return None
        values = json.loads(path.read_text())
        record = Record(**{**values, "notes": tuple(values["notes"])})
        lacking = task.keep and record.evaluation and not self.heatmap(task).is_file()
        return None if lacking else record

    def save(self, task: Task, record: Record, heatmap: Path) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if task.keep and record.evaluation:
            with whole_file(self.heatmap(task)) as partial:
                shutil.copyfile(heatmap, partial)
        with whole_file(self._path(task, ".json")) as partial:
            partial.write_text(json.dumps(asdict(record)))

    def heatmap(self, task: Task) -> Path:
        return self._path(task, ".tif")

    def picture(self, name: str, folder: Path, sources: Sequence[Path]) -> Path:
        """Of a case, made from the files in `folder` by the code in `sources`."""
        files = sorted(path for path in folder.iterdir() if path.is_file())
        return self.folder / f"{name}-{_digest([*files, *sources])[:12]}.jpg"

    def forget_others(self) -> None:
        """Remove what other code left."""
        for folder in self.folder.parent.iterdir():
            if folder != self.folder:
                shutil.rmtree(folder)

    def _path(self, task: Task, suffix: str) -> Path:
        made_from = task.set.digest()[:12]
        if task.detector in ablations.names():
            made_from += _digest([Path(ablations.__file__)])[:12]
        return self.folder / f"{task.name.replace(' ', '-')}-{made_from}{suffix}"


def code_digest() -> str:
    """sha256 of the sources that make the figures, and of the libraries' versions."""
    roots = [Path(next(iter(package.__path__))) for package in (geoanomaly, tiling)]
    return _digest(sorted(path for root in roots for path in root.rglob("*.py")))


def _digest(paths: Sequence[Path]) -> str:
    whole = hashlib.sha256(json.dumps(versions()).encode())
    for path in paths:
        whole.update(path.name.encode() + path.read_bytes())
    return whole.hexdigest()


def versions() -> dict[str, str]:
    return {name: version(name) for name in LIBRARIES}


def execute(task: Task, cache: Cache, scratch: Path) -> Record:
    """Do the run in a folder of its own below `scratch`, and keep its record.

    An error that geoanomaly raises on purpose is a result. Any other is a defect: it is
    reported, not kept, so that the next benchmark tries again.
    """
    with TemporaryDirectory(dir=scratch) as folder, ablations.registered():
        began, processor = time.perf_counter(), time.process_time()
        out = Path(folder) / "out"
        try:
            summary = detect(task.set.spec(task.detector, task.seed), out)
            evaluation = evaluate_files(out / HEATMAP, task.set.label).to_dict()
        except GeoanomalyError as error:
            record = _failed(task, str(error))
        except Exception as error:
            return _failed(task, f"{_CRASHED} {type(error).__name__}: {error}")
        else:
            spent = {
                "all": time.perf_counter() - began,
                "processor": time.process_time() - processor,
            }
            seconds = summary["seconds"] | {key: round(each, 3) for key, each in spent.items()}
            notes = tuple(summary["notes"])
            record = Record(task.set.name, task.detector, task.seed, evaluation, seconds, notes)
        cache.save(task, record, out / HEATMAP)
    return record


def detect(spec: JobSpec, out: Path) -> Mapping[str, Any]:
    """A job as users run it, on one thread; what `run.json` says."""
    from geoanomaly.pipeline import run  # torch

    settings = Settings(data_dir=out.parent / "data", threads=1, tile_size=512, dask_scheduler=None)
    check(spec, settings)
    scratch = out.parent / "scratch"
    return run(spec, out=out, scratch=scratch, settings=settings, report=silent).summary


def _failed(task: Task, why: str) -> Record:
    return Record(task.set.name, task.detector, task.seed, None, {}, error=why)
