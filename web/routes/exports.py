"""`/jobs/{id}/exports/{name}`: a result in the formats of other programs, made when asked for."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from fastapi import APIRouter, Query
from fastapi.responses import FileResponse
from starlette.background import BackgroundTask

from geoanomaly.types import Job
from web.layers import Layer, layer_path, styles
from web.links import media_type
from web.problems import UnknownFileError
from web.results import Result
from web.routes.results import Surprise, result
from web.service import Parts, Service

if TYPE_CHECKING:
    from geoanomaly.exports import Source
    from geoanomaly.pictures import Backdrop

router = APIRouter(tags=["exports"])

Name = Literal[
    "heatmap.tif", "mask.tif", "anomalies.gpkg", "anomalies.geojson", "anomalies.parquet",
    "anomalies.kml", "anomalies.csv", "map.png", "map.html", "everything.zip",
]  # fmt: skip
Crs = Annotated[str | None, Query(max_length=20, description="EPSG:... of what is written.")]
COMPANIONS = ("heatmap.qml", "item.json", "run.json")


@router.get("/jobs/{job_id}/exports/{name}", response_class=FileResponse)
def export(
    parts: Parts, job_id: str, name: Name, surprise: Surprise = None, crs: Crs = None
) -> FileResponse:
    """One file at a threshold (without it, the run's) and in a CRS (without it, the heatmap's)."""
    # Imported when first needed: it takes geopandas along.
    from geoanomaly import exports

    found = result(parts, job_id)
    threshold = found.threshold if surprise is None else surprise
    source = _source(parts, found, threshold, exports.known_crs(crs))
    folder = tempfile.mkdtemp(prefix="geoanomaly-export-")
    tidy = BackgroundTask(shutil.rmtree, folder, ignore_errors=True)
    try:
        path = exports.write(source, name, Path(folder))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return FileResponse(path, media_type=media_type(name), filename=name, background=tidy)


def _source(parts: Service, found: Result, threshold: float, crs: str | None) -> Source:
    from geoanomaly.exports import Source

    job, report = found.job, found.report
    return Source(
        heatmap=found.heatmap,
        hot=found.hot,
        regions=found.regions(threshold),
        judgements={each.key: each for each in parts.store.judgements(job.id)},
        backdrops=tuple(_backdrops(parts, job)),
        threshold=max(threshold, found.hot.floor),
        crs=crs,
        companions=tuple(path for name in COMPANIONS if (path := parts.output(job, name))),
        basis=report.get("model", {}).get("calibration_kind", ""),
        doubts=tuple(report.get("comparability", {}).get("reasons", ())),
        dates=tuple(scene.date for scene in job.spec.scenes if scene.date),
    )


def _backdrops(parts: Service, job: Job) -> Iterator[Backdrop]:
    """The scenes that are still there, in their default colours."""
    from geoanomaly.pictures import Backdrop

    for layer, title in ((Layer.BEFORE, "Before"), (Layer.AFTER, "After")):
        if layer is Layer.BEFORE and job.spec.before is None:
            continue
        try:
            path = layer_path(parts, job, layer)
        except UnknownFileError:
            continue
        style = styles(job, layer, path)[0]
        yield Backdrop(title if job.spec.before else "Scene", path, style.bands, style.stretch)
