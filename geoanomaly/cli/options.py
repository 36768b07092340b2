"""What the commands share: options that mean the same everywhere, and how they are explained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geoanomaly.detectors import detectors_for
from geoanomaly.types import Process

Before = Annotated[
    Path | None, typer.Option(metavar="FILE", help="The earlier scene: look for change since then.")
]
History = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="FILE",
        help="An earlier scene of the place, in any order; may be given many times. Two or more "
        "beside --before calibrate the heatmap by what is normal change there.",
    ),
]
Sensor = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="sentinel-2-l2a, landsat-c2-l2, sar, rgb, rgbn or generic; guessed from the file "
        "when left out, and said.",
    ),
]


def names(process: Process) -> str:
    """The detectors of a process for a help text, the default first."""
    first, *others = (entry.name for entry in detectors_for(process))
    return ", ".join((f"{first} (default)", *others))


Detector = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help=f"For change {names(Process.DETECT_CHANGE)}; for one scene "
        f"{names(Process.DETECT_ANOMALY)}.",
    ),
]
Repair = Annotated[
    bool, typer.Option("--repair", help="Make an area valid whose outline crosses itself.")
]
Aoi = Annotated[
    str | None,
    typer.Option(
        metavar="AREA",
        help="Only this area: a vector file in any CRS, or minx,miny,maxx,maxy in degrees.",
    ),
]
Rate = Annotated[
    float,
    typer.Option(
        metavar="SHARE",
        help="Share of normal pixels that may lie above the threshold of mask and polygons.",
    ),
]
TileSize = Annotated[
    int | None,
    typer.Option(
        metavar="PIXELS",
        help="Side of a tile, a multiple of 32; changes memory and speed, not results.",
    ),
]
Seed = Annotated[int, typer.Option(metavar="NUMBER", help="Equal seeds give equal heatmaps.")]
SceneMask = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="What to leave out of the scene: a raster (not 0 = leave out, or an SCL or QA_PIXEL "
        "band) or polygons.",
    ),
]
BeforeMask = Annotated[
    Path | None, typer.Option(metavar="FILE", help="What to leave out of the before scene.")
]
Ignore = Annotated[
    list[str] | None,
    typer.Option(metavar="WHAT", help="water: leave out what is open water at every date."),
]
Anyway = Annotated[
    bool,
    typer.Option(
        "--anyway", help="Make the map also of dates that cannot be compared, marked doubtful."
    ),
]
