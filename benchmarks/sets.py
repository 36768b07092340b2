"""The labelled sets below a folder. A layout makes a set, whoever put it there."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

import rasterio

from geoanomaly.types import JobSpec, Process, Scene


class Family(Enum):
    """Sets that are judged together: a title and the process that serves them."""

    CHANGE = ("change", "Change", Process.DETECT_CHANGE)
    SAR_CHANGE = ("sar-change", "SAR change", Process.DETECT_CHANGE)
    HYPERSPECTRAL = ("hyperspectral", "Single scenes, hyperspectral", Process.DETECT_ANOMALY)
    SINGLE = ("single", "Single scenes, other", Process.DETECT_ANOMALY)

    def __init__(self, key: str, title: str, process: Process) -> None:
        self.key = key
        self.title = title
        self.process = process


KNOWN = (
    *("gbf-bastrop-fire", "inlpg-beijing-a", "inlpg-shuguang", "landsat-taizhou"),
    *("oscd-dubai-rgb", "sar-bern", "sar-ottawa-flood", "hydice", "sen1floods11-spain"),
    *("abu-airport-1", "abu-airport-2", "abu-airport-3", "abu-beach-2"),
)
"""The sets that the published tables have; one that is missing is named in them."""


@dataclass(frozen=True)
class LabelledSet:
    """scenes: in the order of a `JobSpec`; label: 1 anomalous, 0 normal, all else unlabelled."""

    name: str
    family: Family
    scenes: tuple[Path, ...]
    label: Path
    sensor: str | None = None

    def spec(self, detector: str, seed: int) -> JobSpec:
        """What a user asks for who knows no more than the sensor's name."""
        return JobSpec(
            process=self.family.process,
            scenes=tuple(Scene(str(path.absolute()), title=path.name) for path in self.scenes),
            sensor=self.sensor,
            detector=detector,
            seed=seed,
        )

    @property
    def pixels(self) -> int:
        with rasterio.open(self.scenes[-1]) as raster:
            return int(raster.width * raster.height)

    def digest(self) -> str:
        """sha256 of all of its files."""
        whole = hashlib.sha256()
        for path in (*self.scenes, self.label):
            whole.update(path.read_bytes())
        return whole.hexdigest()


def find_sets(data: Path) -> list[LabelledSet]:
    """The sets in the folders right below `data`, by name.

    before.tif, after.tif and label.tif are a change set, of SAR where the folder's name
    begins with sar-. NAME.tif with NAME-label.tif is a single scene, hyperspectral where it
    begins with hsi-; so is NAME_S2Hand.tif with NAME_LabelHand.tif, the names of Sen1Floods11.
    """
    if not data.is_dir():
        return []
    folders = sorted(folder for folder in data.iterdir() if folder.is_dir())
    found = [each for folder in folders for each in _sets_in(folder)]
    counts = Counter(each.name for each in found)
    return [
        each
        if counts[each.name] == 1
        else replace(each, name=f"{each.label.parent.name}-{each.name}")
        for each in found
    ]


def _sets_in(folder: Path) -> Iterator[LabelledSet]:
    label = folder / "label.tif"
    scenes = (folder / "before.tif", folder / "after.tif")
    if all(path.is_file() for path in (label, *scenes)):
        sar = folder.name.startswith("sar-")
        family = Family.SAR_CHANGE if sar else Family.CHANGE
        yield LabelledSet(folder.name, family, scenes, label, "sar" if sar else None)
    family = Family.HYPERSPECTRAL if folder.name.startswith("hsi-") else Family.SINGLE
    for label in sorted(folder.glob("*-label.tif")):
        scene = label.with_name(label.name.replace("-label", ""))
        if scene.is_file():
            yield LabelledSet(scene.stem, family, (scene,), label)
    for label in sorted(folder.glob("*_LabelHand.tif")):
        scene = label.with_name(label.name.replace("LabelHand", "S2Hand"))
        if scene.is_file():
            yield LabelledSet(folder.name, Family.SINGLE, (scene,), label)
