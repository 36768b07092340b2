"""Records become the JSON documents of the API."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from fastapi import Request

from geoanomaly.jobs import Remark, SceneRecord
from geoanomaly.types import Job, JobStatus, Price, Process
from web.links import address, link, media_rank, media_type

HTML = "text/html"


def status_info(job: Job) -> dict[str, Any]:
    """OGC statusInfo, without links: what a stream of events carries."""
    times = {
        "created": job.created, "started": job.started,
        "finished": job.finished, "updated": job.updated,
    }  # fmt: skip
    return {
        "processID": job.spec.process.value,
        "type": "process",
        "jobID": job.id,
        "status": job.status.value,
        "message": _message(job),
        "progress": round(job.progress.percent),
        "stage": job.progress.stage,
        **{name: _iso(time) for name, time in times.items() if time is not None},
    }


def job_document(request: Request, job: Job) -> dict[str, Any]:
    """statusInfo with the scenes' names, the outputs and every link that works now."""
    return {
        **status_info(job),
        "title": " → ".join(
            scene.title or scene.href.rsplit("/", 1)[-1] for scene in job.spec.scenes
        ),
        "detector": job.spec.detector,
        "attempt": job.attempt,
        "outputs": list(job.outputs),
        "links": job_links(request, job),
    }


def accepted_document(request: Request, job: Job, price: Price) -> dict[str, Any]:
    """A new job, what it costs, and what was found out about its scenes."""
    return {**job_document(request, job), "price": price_document(price)}


def price_document(price: Price) -> dict[str, Any]:
    return {
        "pixels": price.pixels, "tiles": price.tiles, "shape": list(price.shape),
        "sensor": price.sensor, "notes": list(price.notes),
    }  # fmt: skip


def log_document(lines: Iterable[Remark]) -> dict[str, Any]:
    return {"log": [{**vars(line), "at": _iso(line.at)} for line in lines]}


def job_links(request: Request, job: Job) -> list[dict[str, Any]]:
    here = address(request, "job", job_id=job.id)
    links = [
        link(here, "self", title="This job"),
        link(f"{here}/events", "monitor", "text/event-stream"),
    ]
    if job.status is not JobStatus.SUCCESSFUL:
        return links
    links.append(link(f"{here}/results", "http://www.opengis.net/def/rel/ogc/1.0/results"))
    links += [link(f"{here}/files/{name}", "item", media_type(name), name) for name in job.outputs]
    if job.spec.process is not Process.TRAIN_MODEL:
        page = address(request, "page", job_id=job.id)
        links.append(link(page, "alternate", HTML, "Result, to read and to judge"))
        links.append(link(f"{here}/map", "alternate", HTML, "Map"))
    return links


def results_document(request: Request, job: Job) -> dict[str, Any]:
    """Outputs by name (without suffix, where that is clear) as references."""
    here = address(request, "job", job_id=job.id)
    found: dict[str, Any] = {}
    # Of heatmap.tif and heatmap.qml, or anomalies.geojson and .gpkg, the first has the short name.
    for name in sorted(job.outputs, key=media_rank):
        stem = name.rsplit(".", 1)[0]
        key = name if stem in found else stem
        found[key] = {"href": f"{here}/files/{name}", "type": media_type(name), "title": name}
    return found


def scene_document(request: Request, scene: SceneRecord) -> dict[str, Any]:
    """A scene without its path on the server."""
    hidden = ("path", "tenant")
    values = {name: value for name, value in vars(scene).items() if name not in hidden}
    values["created"] = _iso(scene.created)
    values["bands"] = list(scene.bands)
    values["links"] = [link(address(request, "scene", scene_id=scene.id), "self")]
    return values


def _message(job: Job) -> str:
    if job.cancel_requested and not job.status.final:
        return "Stopping: the worker ends at the next tile."
    return job.progress.message


def _iso(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
