"""Commands that work without any service."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from geoanomaly import __version__
from geoanomaly.cli.progress import progress_line
from geoanomaly.detectors import detectors_for
from geoanomaly.errors import ParameterError
from geoanomaly.remote import raster_href, remote_url, upload
from geoanomaly.types import JobSpec, Process, Scene

if TYPE_CHECKING:
    from geoanomaly.settings import Settings

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


def _names(process: Process) -> str:
    """The detectors of a process for a help text, the default first."""
    first, *others = (entry.name for entry in detectors_for(process))
    return ", ".join((f"{first} (default)", *others))


Detector = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help=f"For change {_names(Process.DETECT_CHANGE)}; for one scene "
        f"{_names(Process.DETECT_ANOMALY)}.",
    ),
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


def detect(
    after: Annotated[
        Path, typer.Argument(metavar="AFTER", help="The scene to look at (any raster GDAL reads).")
    ],
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder for the results; made when needed.")
    ],
    before: Before = None,
    history: History = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="A model of `train`; without one, it is fitted to the scene."
        ),
    ] = None,
    detector: Detector = None,
    sensor: Sensor = None,
    aoi: Aoi = None,
    false_alarm_rate: Rate = 0.01,
    mask: SceneMask = None,
    before_mask: BeforeMask = None,
    ignore: Ignore = None,
    anyway: Anyway = False,
    tile_size: TileSize = None,
    seed: Seed = 0,
) -> None:
    """Find what is unusual in a scene, or changed since --before.

    Writes heatmap.tif (surprise: 0 is ordinary, 2 is one normal pixel in a hundred),
    mask.tif, anomalies.gpkg and more to --out. A run that Ctrl-C stopped goes on where
    it stopped when the same command is given again.
    """
    from geoanomaly.areas import parse_area

    spec = JobSpec(
        process=Process.DETECT_CHANGE if before else Process.DETECT_ANOMALY,
        scenes=scenes_of((before, before_mask), (after, mask)),
        history=tuple(_scene(path) for path in history or ()),
        aoi=parse_area(aoi) if aoi else None,
        sensor=sensor,
        detector=detector,
        model=model,
        false_alarm_rate=false_alarm_rate,
        tile_size=tile_size,
        seed=seed,
        ignore=tuple(ignore or ()),
        anyway=anyway,
    )
    summary = _run(spec, out)
    _say_result(summary, out)


def train(
    scenes: Annotated[
        list[Path], typer.Argument(metavar="SCENE", help="Scenes of normal ground, one sensor.")
    ],
    name: Annotated[str, typer.Option(metavar="NAME", help="What to call the model.")],
    exclude: Annotated[
        str | None, typer.Option(metavar="FILE", help="Polygons to leave out (vector file).")
    ] = None,
    detector: Annotated[
        str | None, typer.Option(metavar="NAME", help=f"{_names(Process.TRAIN_MODEL)}.")
    ] = None,
    sensor: Sensor = None,
    aoi: Aoi = None,
    seed: Seed = 0,
) -> None:
    """Learn what is normal from scenes, and keep it as a model."""
    from geoanomaly.areas import parse_area
    from geoanomaly.settings import Settings

    spec = JobSpec(
        process=Process.TRAIN_MODEL,
        scenes=tuple(_scene(path) for path in scenes),
        name=name,
        exclude=parse_area(exclude, field="exclude") if exclude else None,
        aoi=parse_area(aoi) if aoi else None,
        sensor=sensor,
        detector=detector,
        seed=seed,
    )
    summary = _run(spec, Settings().models_dir / name)
    typer.echo(
        f"model {name} ({summary['digest'][:12]}) is ready: "
        f"geoanomaly detect SCENE --model {name} --out DIR"
    )


def evaluate(
    heatmap: Annotated[Path, typer.Argument(metavar="HEATMAP", help="heatmap.tif of a run.")],
    label: Annotated[
        Path, typer.Argument(metavar="LABEL", help="Raster (1 anomalous, 0 normal) or polygons.")
    ],
    threshold: Annotated[
        float | None,
        typer.Option(metavar="SURPRISE", help="Anomalous from here on; default that of the run."),
    ] = None,
    min_object: Annotated[
        int,
        typer.Option(metavar="PIXELS", min=1, help="Objects smaller than this are left out."),
    ] = 4,
    block: Annotated[
        int | None,
        typer.Option(
            metavar="PIXELS",
            min=1,
            help="Side of the blocks that the 95 % intervals draw from; should be larger than an "
            "anomaly. Default a 16th of the heatmap's side.",
        ),
    ] = None,
    compare: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="HEATMAP", help="Another heatmap on the same grid; may be given many times."
        ),
    ] = None,
    curves: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw PR and ROC curves into this PNG.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Compare a heatmap with labels.

    Average precision comes first, with the prevalence that a random score would reach.
    With --compare, several heatmaps are judged by the pixels that all of them score. An
    object is a group of pixels that touch. It counts as found when the mask overlaps it at
    all and, on a line of its own, when intersection over union is at least one half.
    """
    from geoanomaly.comparison import compare_files
    from geoanomaly.curves import draw_curves
    from geoanomaly.evaluation import evaluate_files

    if compare:
        comparison = compare_files(
            [heatmap, *compare], label, threshold=threshold, min_object=min_object, block=block
        )
        typer.echo(comparison.to_json() if json_ else comparison.as_table())
    else:
        evaluation = evaluate_files(
            heatmap, label, threshold=threshold, min_object=min_object, block=block
        )
        typer.echo(evaluation.to_json() if json_ else evaluation.as_table())
    if curves is not None:
        draw_curves(comparison.evaluations if compare else evaluation, curves)


def models() -> None:
    """List the trained models."""
    from geoanomaly.models import list_cards
    from geoanomaly.settings import Settings

    cards = list_cards(Settings().models_dir)
    for card in cards:
        typer.echo(
            f"{card.name}: {card.detector}, {card.sensor} ({' '.join(card.bands)}), "
            f"trained on {', '.join(card.trained_on)}, {card.created}, {card.digest[:12]}"
        )
    if not cards:
        typer.echo("no models yet; `geoanomaly train --name NAME SCENE` makes one")


def doctor() -> None:
    """Say what this installation has and where it keeps things."""
    from geoanomaly.doctor import examine

    findings = examine()
    for finding in findings:
        mark = "ok  " if finding.good else "-   " if finding.optional else "MISS"
        typer.echo(f"{mark} {finding.name}: {finding.text}")
    if not all(finding.good or finding.optional for finding in findings):
        raise typer.Exit(1)


def scenes_of(*given: tuple[Path | None, Path | None]) -> tuple[Scene, ...]:
    """The scenes with their masks, without those that were not given."""
    if any(path is None and mask is not None for path, mask in given):
        raise ParameterError("A mask of the before scene needs --before.", field="before_mask")
    return tuple(_scene(path, mask) for path, mask in given if path is not None)


def _scene(path: Path, mask: Path | None = None) -> Scene:
    """A scene of the command line; URLs and GDAL's own paths stay as they are."""
    left_out = None if mask is None else _scene(mask)
    text = str(path)
    href = raster_href(path)
    if href != text or text.startswith("/vsi"):
        return Scene(href, mask=left_out)
    return Scene(str(path.absolute()), title=path.name, mask=left_out)


def _run(spec: JobSpec, out: Path) -> dict[str, Any]:
    """Check, price, run, with progress; a run that was stopped goes on from its finished tiles."""
    from geoanomaly.budget import set_limits
    from geoanomaly.intake import check
    from geoanomaly.settings import Settings

    settings = Settings()
    set_limits(settings)
    price = check(spec, settings)
    for note in price.notes:
        typer.echo(f"note: {note}", err=True)
    typer.echo(
        f"{price.shape[1]:,} x {price.shape[0]:,} pixels, {_count(price.tiles, 'tile')}, "
        f"{price.sensor}",
        err=True,
    )
    from geoanomaly.pipeline import run  # torch

    name = f".work-{_digest(spec, settings)}"
    with (
        _local(out) as local,
        _work_folder(local, local / name) as scratch,
        progress_line() as report,
    ):
        result = run(spec, out=local, scratch=scratch, settings=settings, report=report)
        return dict(result.summary)


@contextmanager
def _local(out: Path) -> Iterator[Path]:
    """A folder here for one that may be in an object store, to which its files go at the end."""
    url = remote_url(out)
    if url is None:
        yield out
        return
    with TemporaryDirectory(prefix="geoanomaly-") as folder:
        yield Path(folder) / "out"
        upload(Path(folder) / "out", url)


@contextmanager
def _work_folder(out: Path, folder: Path) -> Iterator[Path]:
    """`folder` in `out`, removed at the end unless Ctrl-C left work in it to go on from."""
    made = not out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ParameterError(f"{out} cannot be made: {error.strerror}.", field="out") from None
    try:
        yield folder
    except KeyboardInterrupt:
        if folder.exists():
            rest = "the same command goes on where it stopped"
        else:
            rest = "nothing was written"
            _remove_if_empty(out, made)
        typer.echo(f"\nstopped: {rest}", err=True)
        raise typer.Exit(130) from None
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        _remove_if_empty(out, made)
        raise
    shutil.rmtree(folder, ignore_errors=True)


def _remove_if_empty(out: Path, made: bool) -> None:
    if made and not any(out.iterdir()):
        out.rmdir()


def _digest(spec: JobSpec, settings: Settings) -> str:
    """Tells requests apart: whatever unfinished tiles of another run would be wrong for."""
    from geoanomaly.models import read_card

    scenes = (*spec.scenes, *spec.history)
    masks = [scene.mask for scene in scenes if scene.mask is not None]
    files = [Path(scene.href) for scene in (*scenes, *masks)]
    stamps = [(path.stat().st_size, path.stat().st_mtime_ns) for path in files if path.exists()]
    # A model of the same name may have been trained anew since.
    model = read_card(settings.models_dir, spec.model).digest if spec.model else None
    facts = [__version__, spec.to_json(), stamps, model, settings.tile_size]
    text = json.dumps(facts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _say_result(summary: dict[str, Any], out: Path) -> None:
    _say_validity(summary)
    for reason in summary["model"]["choice"]:
        typer.echo(f"note: {reason}", err=True)
    threshold = summary["threshold"]
    typer.echo(
        f"{_anomalies(summary['anomalies']['count'])} above surprise {threshold['surprise']:g} "
        f"(false-alarm rate {threshold['false_alarm_rate']:g}, "
        f"{summary['model']['calibration_kind']}) in {remote_url(out) or out}"
    )
    for name in ("heatmap.tif", "anomalies.gpkg", "preview.png"):
        typer.echo(f"  {remote_url(out) or out}/{name}")


def _say_validity(summary: dict[str, Any]) -> None:
    """What was found out of the scenes while the job ran; before it, `_run` has said the rest."""
    from geoanomaly.legend import caution

    comparability = summary.get("comparability", {"reasons": ()})
    shift = comparability.get("shift")
    if shift and shift["applied"]:
        typer.echo(f"note: {summary['notes'][-1]}", err=True)
    if summary["valid"]["share"] < 1:
        typer.echo(f"note: {summary['valid']['share']:.1%} of the area is valid.", err=True)
    if comparability["reasons"]:
        typer.echo(caution(comparability["reasons"]), err=True)


def _anomalies(count: int) -> str:
    return f"{count:,} {'anomaly' if count == 1 else 'anomalies'}"
