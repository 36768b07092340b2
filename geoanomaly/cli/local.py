"""Commands that work without any service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from geoanomaly.cli.options import (
    Anyway,
    Aoi,
    Before,
    BeforeMask,
    Detector,
    History,
    Ignore,
    Rate,
    Repair,
    SceneMask,
    Seed,
    Sensor,
    TileSize,
    names,
)
from geoanomaly.cli.running import run_here
from geoanomaly.errors import ParameterError
from geoanomaly.remote import raster_href, remote_url
from geoanomaly.types import JobSpec, Process, Scene


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
    repair: Repair = False,
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
    from geoanomaly.scenes.areas import parse_area

    spec = JobSpec(
        process=Process.DETECT_CHANGE if before else Process.DETECT_ANOMALY,
        scenes=scenes_of((before, before_mask), (after, mask)),
        history=tuple(_scene(path) for path in history or ()),
        aoi=parse_area(aoi, repair=repair) if aoi else None,
        sensor=sensor,
        detector=detector,
        model=model,
        false_alarm_rate=false_alarm_rate,
        tile_size=tile_size,
        seed=seed,
        ignore=tuple(ignore or ()),
        anyway=anyway,
    )
    summary = run_here(spec, out)
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
        str | None, typer.Option(metavar="NAME", help=f"{names(Process.TRAIN_MODEL)}.")
    ] = None,
    sensor: Sensor = None,
    aoi: Aoi = None,
    repair: Repair = False,
    seed: Seed = 0,
) -> None:
    """Learn what is normal from scenes, and keep it as a model."""
    from geoanomaly.scenes.areas import parse_area
    from geoanomaly.settings import Settings

    spec = JobSpec(
        process=Process.TRAIN_MODEL,
        scenes=tuple(_scene(path) for path in scenes),
        name=name,
        exclude=parse_area(exclude, field="exclude") if exclude else None,
        aoi=parse_area(aoi, repair=repair) if aoi else None,
        sensor=sensor,
        detector=detector,
        seed=seed,
    )
    summary = run_here(spec, Settings().models_dir / name)
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
    from geoanomaly.evaluation.comparison import compare_files
    from geoanomaly.evaluation.curves import draw_curves
    from geoanomaly.evaluation.evaluate import evaluate_files

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
    """What was found out of the scenes while the job ran; `run_here` said the rest before."""
    from geoanomaly.results.legend import caution

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
