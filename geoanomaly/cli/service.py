"""Commands that run the service, or talk to one that runs."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from geoanomaly.cli.local import scenes_of
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
)
from geoanomaly.cli.progress import progress_line

if TYPE_CHECKING:
    from geoanomaly.client import Client
    from geoanomaly.settings import Settings

Url = Annotated[
    str, typer.Option(metavar="URL", envvar="GEOANOMALY_URL", help="Address of the service.")
]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="As `submit` printed it.")]
URL = "http://127.0.0.1:8000"


def serve(
    host: Annotated[str, typer.Option(metavar="HOST", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(metavar="PORT", help="Port to listen on; 0 takes a free one.")
    ] = 8000,
    data_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where jobs and scenes are kept.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Jobs that run at the same time.")] = 1,
) -> None:
    """Run web server, worker and broker together, until Ctrl-C."""
    from geoanomaly.access.exposure import exposed
    from geoanomaly.logs import configure
    from geoanomaly.service import Service
    from geoanomaly.settings import Settings

    settings = exposed(Settings(data_dir=data_dir) if data_dir else Settings(), host)
    if settings.access:
        _check_keys(settings)
    configure(settings)
    with Service(settings, host, port, workers) as running:
        typer.echo(f"geoanomaly serves at {running.url}/ui (data in {settings.data_dir})")
        typer.echo("Ctrl-C stops it")
        running.wait()


def worker(
    concurrency: Annotated[int, typer.Option(min=1, help="Jobs at the same time.")] = 1,
    pool: Annotated[str, typer.Option(help="prefork, or solo for GPU workers.")] = "prefork",
) -> None:
    """Run one more worker for a service.

    Which one is said by GEOANOMALY_DATABASE_URL and GEOANOMALY_BROKER_URL.
    """
    command = [
        sys.executable,
        "-m",
        "tasks.worker",
        f"--concurrency={concurrency}",
        f"--pool={pool}",
    ]
    # The worker replaces this process, so that signals reach it directly.
    sys.stdout.flush()
    os.execv(sys.executable, command)


def submit(
    after: Annotated[
        Path, typer.Argument(metavar="AFTER", help="The scene to look at; it is uploaded.")
    ],
    before: Before = None,
    history: History = None,
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="A model that the service has trained.")
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
    wait: Annotated[bool, typer.Option("--wait", help="Show progress until the job ends.")] = False,
    url: Url = URL,
) -> None:
    """Upload scenes, start a job and print its id."""
    parameters = {
        "model": model,
        "detector": detector,
        "sensor": sensor,
        "false_alarm_rate": false_alarm_rate,
        "tile_size": tile_size,
        "seed": seed,
        "aoi": _geojson(aoi, repair),
        "ignore": ignore or None,
        "anyway": anyway or None,
    }
    scenes_of((before, before_mask), (after, mask))
    inputs: dict[str, Any] = {key: value for key, value in parameters.items() if value is not None}
    with _client(url) as client:
        if before:
            inputs |= {
                "before": client.upload(before, sensor),
                "after": client.upload(after, sensor),
            }
        else:
            inputs["scene"] = client.upload(after, sensor)
        if history:
            inputs["history"] = [client.upload(path, sensor) for path in history]
        for name, file in (("mask", mask), ("before_mask", before_mask)):
            if file:
                inputs[name] = client.upload(file)
        job_id = client.submit("detect-change" if before else "detect-anomaly", inputs)
        typer.echo(job_id)
        if wait:
            _wait(client, job_id)


def status(
    job_id: Annotated[
        str | None, typer.Argument(metavar="JOB", help="A job; the newest ones when left out.")
    ] = None,
    url: Url = URL,
) -> None:
    """Print the state of one job as JSON, or a line for each job."""
    with _client(url) as client:
        if job_id is not None:
            typer.echo(json.dumps(client.status(job_id), indent=1))
            return
        for job in client.jobs():
            percent = f"{job.get('progress', 0):3.0f} %"
            typer.echo(f"{job['jobID']}  {job['status']:<10} {percent}  {job['processID']}")


def cancel(job_id: JobId, url: Url = URL) -> None:
    """Stop a job, running or queued."""
    with _client(url) as client:
        typer.echo(client.cancel(job_id)["status"])


def download(
    job_id: JobId,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the files.")],
    names: Annotated[
        list[str] | None,
        typer.Option("--name", metavar="FILE", help="Only this file; may be given again."),
    ] = None,
    url: Url = URL,
) -> None:
    """Fetch the files of a finished job."""
    with _client(url) as client:
        for path in client.download(job_id, out, names):
            typer.echo(path)


def demo(
    once: Annotated[bool, typer.Option("--once", help="End after the job, for scripts.")] = False,
    port: Annotated[
        int, typer.Option(metavar="PORT", help="Port; another free one if it is taken.")
    ] = 8000,
    size: Annotated[
        int, typer.Option(min=128, metavar="PIXELS", help="Side of the generated scene.")
    ] = 1024,
    seed: Seed = 0,
    data_dir: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Keep everything here; else it is removed at the end."),
    ] = None,
) -> None:
    """Run the whole service on a generated scene pair.

    Says how well the planted anomalies were found, and where the map is.
    """
    from geoanomaly.demo import Demo

    with Demo(data_dir, port=port, size=size, seed=seed) as running:
        with progress_line() as report:
            job_id = running.run_job(report)
        typer.echo(running.verdict(job_id))
        if not once:
            typer.echo("Ctrl-C stops it")
            running.wait()


def _wait(client: Client, job_id: str) -> None:
    try:
        with progress_line() as report:
            client.follow(job_id, report)
    except KeyboardInterrupt:
        typer.echo(f"\nthe job goes on; `geoanomaly cancel {job_id}` stops it", err=True)
        raise typer.Exit(130) from None


def _check_keys(settings: Settings) -> None:
    from geoanomaly.access.exposure import check_keys
    from geoanomaly.access.store import KeyStore
    from geoanomaly.jobs.database import Database

    database = Database(settings.database)
    try:
        check_keys(KeyStore(database))
    finally:
        database.close()


def _client(url: str) -> Client:
    from geoanomaly.client import Client

    return Client(url)


def _geojson(aoi: str | None, repair: bool) -> dict[str, Any] | None:
    """An area as the GeoJSON geometry (WGS 84) that the service takes."""
    if aoi is None:
        return None
    from odc.geo.geom import Geometry

    from geoanomaly.scenes.areas import parse_area

    area = parse_area(aoi, repair=repair)
    if area.note:
        typer.echo(area.note, err=True)
    lonlat = Geometry(area.geometry, area.crs).to_crs("EPSG:4326", resolution="auto")
    return dict(lonlat.json)
