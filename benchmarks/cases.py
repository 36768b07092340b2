"""Scenes without labels, or with labels that are not about the rare: pictures and a judgement.

A case is a function that runs what it wants in a folder of its own and draws one picture
into the path it is given, and a caption by somebody who has looked at it. To add one, write
the function and list it in `CASES`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import Affine

from benchmarks import pictures
from benchmarks.runs import detect
from geoanomaly.results.rasters import HEATMAP
from geoanomaly.scenes.timeline import HISTORY
from geoanomaly.types import JobSpec, Process, Scene


@dataclass(frozen=True)
class Case:
    """name: of the folder below the data; caption: what is seen in the picture.

    seen: the default detector that the caption was written of; None = it uses none.
    draw: (folder of the data, an empty folder to work in, the picture to write).
    """

    name: str
    title: str
    caption: str
    seen: str | None
    draw: Callable[[Path, Path, Path], None]

    @property
    def file(self) -> str:
        return f"case-{self.name}.jpg"


def spain(folder: Path, work: Path, picture: Path) -> None:
    scene = folder / "Spain_7370579_S2Hand.tif"
    label = folder / "Spain_7370579_LabelHand.tif"
    heatmap = _single(scene, work)
    panels = [pictures.scene("Sentinel-2, one date", scene)]
    panels += [pictures.label("label: water", label), pictures.heatmap("surprise", heatmap)]
    pictures.draw(picture, [*panels, pictures.verdict("at the shipped threshold", heatmap, label)])


def drone(folder: Path, work: Path, picture: Path) -> None:
    scene = next(folder.glob("*.tif"))
    heatmap = _single(scene, work)
    pictures.draw(
        picture,
        [
            pictures.scene("five bands, digital numbers", scene),
            pictures.heatmap("surprise", heatmap),
            pictures.overlay("above the threshold", scene, heatmap),
        ],
    )


def peru(folder: Path, work: Path, picture: Path) -> None:
    before, after = folder / "2010.tif", folder / "2015.tif"
    scenes = (Scene(str(before.absolute())), Scene(str(after.absolute())))
    detect(JobSpec(Process.DETECT_CHANGE, scenes), work / "out")
    heatmap = work / "out" / HEATMAP
    pictures.draw(
        picture,
        [
            pictures.scene("2010", before),
            pictures.scene("2015", after),
            pictures.heatmap("surprise", heatmap),
            pictures.overlay("above the threshold", after, heatmap),
        ],
    )


CALM = "2015-08-31 2016-03-18 2016-04-07 2016-04-27 2016-05-07 2016-06-16 2016-08-15 2016-10-14"
SUMMER = ("06", "07", "08")
LOST = 0.15


def romania(folder: Path, work: Path, picture: Path) -> None:
    """Two dates of one season, and the forecast from nine; the label is what NDVI lost."""
    cube = _Cube.read(folder)
    before, after, *history = (
        cube.write(work, date) for date in ("2016-08-05", "2020-08-04", *CALM.split())
    )
    label = cube.write_loss(work / "label.tif", "2016", "2020")
    pair = JobSpec(Process.DETECT_CHANGE, (before, after))
    detect(pair, work / "pair" / "out")
    detect(replace(pair, detector=HISTORY, history=tuple(history)), work / "all" / "out")
    panels = [
        pictures.scene("August 2016", Path(before.href)),
        pictures.scene("August 2020", Path(after.href)),
        pictures.label("label: NDVI lost", label),
    ]
    for name, title in (("pair", "two dates"), ("all", "forecast from nine")):
        panels.append(
            pictures.verdict(
                f"{title}: highest 5 %", work / name / "out" / HEATMAP, label, share=0.05
            )
        )
    pictures.draw(picture, panels)


@dataclass(frozen=True)
class _Cube:
    """Digital numbers by band name, int16 (date, y, x)."""

    bands: dict[str, NDArray[Any]]
    dates: list[str]
    place: dict[str, Any]

    @classmethod
    def read(cls, folder: Path) -> _Cube:
        (source,) = folder.glob("*.nc")
        bands = {}
        for name in ("B2", "B3", "B4", "B8", "SCL"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", NotGeoreferencedWarning)
                with rasterio.open(f"netcdf:{source}:{name}") as raster:
                    bands[name] = raster.read()
                    days = raster.tags()["NETCDF_DIM_time_VALUES"].strip("{}").split(",")
        # The place is that of its companion, which has half the resolution.
        with rasterio.open(next(folder.glob("*.tif"))) as other:
            place = {"crs": other.crs, "transform": other.transform @ Affine.scale(0.5)}
        start = date(2015, 8, 1)
        return cls(bands, [str(start + timedelta(int(day))) for day in days], place)

    def write(self, work: Path, day: str) -> Scene:
        path, at = work / f"{day}.tif", self.dates.index(day)
        names = [name.replace("B", "B0") for name in self.bands]
        _write(path, np.stack([band[at] for band in self.bands.values()]), names, self.place)
        return Scene(str(path.absolute()), "sentinel-2-l2a", day, title=path.name)

    def write_loss(self, path: Path, then: str, now: str) -> Path:
        """Where the median NDVI of a summer has fallen by `LOST`."""
        lost = self._summer(then) - self._summer(now) > LOST
        _write(path, lost[None].astype(np.int16), ["lost"], self.place)
        return path

    def _summer(self, year: str) -> NDArray[np.float64]:
        at = [i for i, day in enumerate(self.dates) if day[:4] == year and day[5:7] in SUMMER]
        red, infrared = (self.bands[name][at].astype(float) for name in ("B4", "B8"))
        clear = np.isin(self.bands["SCL"][at], (2, 4, 5, 6, 7)) & (red > 0)
        index = (infrared - red) / np.maximum(infrared + red, 1)
        return np.asarray(np.nanmedian(np.where(clear, index, np.nan), axis=0))


def _write(path: Path, data: NDArray[Any], names: list[str], place: dict[str, Any]) -> None:
    count, height, width = data.shape
    shape = {"count": count, "height": height, "width": width, "dtype": "int16"}
    with rasterio.open(path, "w", driver="GTiff", **shape, **place) as raster:
        raster.write(data)
        raster.descriptions = tuple(names)


def _single(scene: Path, work: Path) -> Path:
    """The heatmap of the default detector."""
    detect(JobSpec(Process.DETECT_ANOMALY, (Scene(str(scene.absolute())),)), work / "out")
    return work / "out" / HEATMAP


CASES: tuple[Case, ...] = (
    Case(
        "sen1floods11-spain",
        "A flood on one date (Spain)",
        "Water covers 27 % of the scene, so it is no rarity there, and a model of this one date "
        "leaves nearly all of it out. What it marks are towns, industrial roofs and a few bright "
        "fields: unusual in this farmland, and not what the label asks for. A flood like this one "
        "needs a date before it.",
        "vae",
        spain,
    ),
    Case(
        "micasense-rededge-drone",
        "A frame of a drone's five-band camera",
        "The pick-up truck on the track is the strongest object, as it should be, and so are the "
        "few spots on the bare strip. Most of the other marks are no finds: the ends of the vine "
        "rows and the sunny rims of the trees, where the five lenses do not lie exactly on one "
        "another.",
        "vae",
        drone,
    ),
    Case(
        "opengeos-landsat-peru",
        "The Ucayali river, 2010 to 2015 (Peru)",
        "The meanders that moved and their new sand bars are found with little else. The growth "
        "of Pucallpa, west of the river, is raised but stays mostly below the threshold, and so "
        "do most of the small clearings at the left edge.",
        "cvae",
        peru,
    ),
    Case(
        "nrt-romania-s2",
        "New road and gaps in a forest, 2016 to 2020 (Romania)",
        "The label is a proxy: summer NDVI that fell by .15, 4.8 % of the pixels. The forecast "
        "from nine earlier dates (detector `history`, average precision .50) follows the new "
        "road in all its bends and finds the larger clearings; two dates of one season (default, "
        ".16) put most of as many pixels on the meadow beside it. Both miss the small gaps. The "
        "forecast is calibrated by the earlier dates, between which the meadow changed as much: "
        "at 1 % it calls nothing in this square kilometre, which is cautious rather than useful.",
        "auto",
        romania,
    ),
)
