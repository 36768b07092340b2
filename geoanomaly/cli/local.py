"""Commands that work without any service."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from geoanomaly.cli.progress import progress_line
from geoanomaly.types import JobSpec, Process, Scene

Before = Annotated[Path | None, typer.Option(help="Earlier scene: then change is looked for.")]
Sensor = Annotated[str | None, typer.Option(help="Sensor; guessed from the file when left out.")]
Detector = Annotated[
    str | None, typer.Option(help="cvae or rwr for change, vae or rx for one scene.")
]
Aoi = Annotated[str | None, typer.Option(help="Vector file, or minx,miny,maxx,maxy in degrees.")]
Rate = Annotated[float, typer.Option(help="Expected share of normal pixels above the threshold.")]
TileSize = Annotated[int | None, typer.Option(help="Core of a tile in pixels.")]
Seed = Annotated[int, typer.Option(help="Equal seeds give equal heatmaps.")]


def detect(
    after: Annotated[Path, typer.Argument(help="The scene to look at (any raster GDAL reads).")],
    out: Annotated[Path, typer.Option(help="Folder for the results.")],
    before: Before = None,
    model: Annotated[
        str | None, typer.Option(help="Trained model; else fitted to the scene.")
    ] = None,
    detector: Detector = None,
    sensor: Sensor = None,
    aoi: Aoi = None,
    false_alarm_rate: Rate = 0.01,
    tile_size: TileSize = None,
    seed: Seed = 0,
) -> None:
    """Score a scene, or a pair with --before, and write heatmap, mask and anomalies to --out."""
    from geoanomaly.areas import parse_area

    spec = JobSpec(
        process=Process.DETECT_CHANGE if before else Process.DETECT_ANOMALY,
        scenes=tuple(_scene(path) for path in (before, after) if path is not None),
        aoi=parse_area(aoi) if aoi else None,
        sensor=sensor,
        detector=detector,
        model=model,
        false_alarm_rate=false_alarm_rate,
        tile_size=tile_size,
        seed=seed,
    )
    summary = _run(spec, out)
    _say_result(summary, out)


def train(
    scenes: Annotated[list[Path], typer.Argument(help="Scenes of normal ground, one sensor.")],
    name: Annotated[str, typer.Option(help="What to call the model.")],
    exclude: Annotated[
        str | None, typer.Option(help="Polygons to leave out (vector file).")
    ] = None,
    detector: Detector = None,
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
    heatmap: Annotated[Path, typer.Argument(help="heatmap.tif of a run.")],
    label: Annotated[Path, typer.Argument(help="Raster (1 anomalous, 0 normal) or polygons.")],
    threshold: Annotated[
        float | None, typer.Option(help="Surprise; default that of the run.")
    ] = None,
    curves: Annotated[Path | None, typer.Option(help="PNG for the PR and ROC curves.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare a heatmap with labels: average precision and prevalence first."""
    from geoanomaly.curves import draw_curves
    from geoanomaly.evaluation import evaluate_files

    evaluation = evaluate_files(heatmap, label, threshold=threshold)
    typer.echo(evaluation.to_json() if json_ else evaluation.as_table())
    if curves is not None:
        draw_curves(evaluation, curves)


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
        typer.echo(f"{'ok  ' if finding.good else 'MISS'} {finding.name}: {finding.text}")
    if not all(finding.good or finding.optional for finding in findings):
        raise typer.Exit(1)


def _scene(path: Path) -> Scene:
    """A scene of the command line; URLs and GDAL's own paths stay as they are."""
    text = str(path)
    if text.startswith(("/vsi", "http:", "https:")):
        return Scene(text.replace(":/", "://", 1) if text.startswith("http") else text)
    return Scene(str(path.absolute()), title=path.name)


def _run(spec: JobSpec, out: Path) -> dict[str, Any]:
    """Check, price, run, with progress; a run that was stopped goes on from its finished tiles."""
    from geoanomaly.intake import check
    from geoanomaly.settings import Settings

    settings = Settings()
    price = check(spec, settings)
    for note in price.notes:
        typer.echo(f"note: {note}", err=True)
    typer.echo(
        f"{price.shape[1]:,} x {price.shape[0]:,} pixels, {price.tiles:,} tiles, {price.sensor}",
        err=True,
    )
    from geoanomaly.pipeline import run  # torch

    with _work_folder(out, spec) as scratch, progress_line() as report:
        return dict(run(spec, out=out, scratch=scratch, settings=settings, report=report).summary)


@contextmanager
def _work_folder(out: Path, spec: JobSpec) -> Iterator[Path]:
    """A hidden folder in `out` for this very request, removed unless the run was interrupted."""
    made = not out.exists()
    out.mkdir(parents=True, exist_ok=True)
    folder = out / f".work-{_digest(spec)}"
    try:
        yield folder
    except KeyboardInterrupt:
        typer.echo("\nstopped; the same command goes on from the finished tiles", err=True)
        raise typer.Exit(130) from None
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        if made and not any(out.iterdir()):
            out.rmdir()
        raise
    shutil.rmtree(folder, ignore_errors=True)


def _digest(spec: JobSpec) -> str:
    """Tells requests apart: parameters, and size and time of the input files."""
    files = [Path(scene.href) for scene in spec.scenes]
    stamps = [(path.stat().st_size, path.stat().st_mtime_ns) for path in files if path.exists()]
    text = json.dumps([spec.to_json(), stamps], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _say_result(summary: dict[str, Any], out: Path) -> None:
    threshold = summary["threshold"]
    typer.echo(
        f"{summary['anomalies']['count']} anomalies above surprise {threshold['surprise']:g} "
        f"(false-alarm rate {threshold['false_alarm_rate']:g}, an estimate) in {out}"
    )
    for name in ("heatmap.tif", "anomalies.gpkg", "preview.png"):
        typer.echo(f"  {out / name}")
