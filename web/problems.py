"""Errors become RFC 7807 problem documents; one table says which becomes what."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from rasterio.errors import RasterioError
from rio_tiler.errors import (
    InvalidFormat,
    MissingBands,
    PointOutsideBounds,
    RioTilerError,
    TileOutsideBounds,
)
from starlette.exceptions import HTTPException

from geoanomaly import errors
from web.headers import headers_of

log = logging.getLogger(__name__)

FAILED = "The service failed; its log has the reason."

# RFC 9457: a name for what a program may act on. It leads nowhere.
OWN = "tag:geoanomaly,2026"
OGC = "http://www.opengis.net/def/exceptions/ogcapi-processes-1/1.0"


@dataclass(frozen=True)
class Kind:
    """How one class of errors is told. `field` is for classes that always mean one input."""

    status: int
    title: str
    type: str = "about:blank"
    field: str | None = None


class UnknownProcessError(errors.NotFoundError):
    def __init__(self, process: str, known: Sequence[str]) -> None:
        super().__init__(f"There is no process {process!r}. Known: {', '.join(known)}.")


class UnknownFileError(errors.NotFoundError):
    """A job has no such output."""


class TooLargeError(errors.InputError):
    """An upload is larger than the service takes."""


TABLE: Mapping[type[Exception], Kind] = {
    TooLargeError: Kind(413, "Upload too large"),
    errors.SceneError: Kind(400, "Scene cannot be used"),
    errors.CrossingAreaError: Kind(400, "Area crosses itself", f"{OWN}:area-crosses-itself"),
    errors.AreaError: Kind(400, "Area cannot be used"),
    errors.ParameterError: Kind(400, "Parameter not allowed"),
    errors.InputError: Kind(400, "Input not allowed"),
    UnknownProcessError: Kind(404, "No such process", f"{OGC}/no-such-process"),
    errors.UnknownJobError: Kind(404, "No such job", f"{OGC}/no-such-job"),
    errors.UnknownModelError: Kind(404, "No such model", field="model"),
    errors.UnknownSceneError: Kind(404, "No such scene"),
    errors.NotFoundError: Kind(404, "Not found"),
    errors.UnauthorizedError: Kind(401, "No valid key"),
    errors.ForbiddenError: Kind(403, "Not allowed"),
    errors.QuotaError: Kind(403, "More than you may have"),
    errors.ResultNotReadyError: Kind(404, "Result not ready", f"{OGC}/result-not-ready"),
    errors.JobFailedError: Kind(404, "Job ended without a result"),
    errors.ServiceError: Kind(503, "Part of the service is not available"),
    errors.GeoanomalyError: Kind(500, "Processing error"),
    TileOutsideBounds: Kind(404, "Tile outside the raster"),
    PointOutsideBounds: Kind(404, "Point outside the raster"),
    MissingBands: Kind(400, "No such band", field="bidx"),
    InvalidFormat: Kind(400, "No such image format"),
    # Of a raster that is damaged GDAL tells, below; these are all about what was asked.
    RioTilerError: Kind(400, "Raster cannot be drawn so"),
    RasterioError: Kind(500, "Raster cannot be read"),
}


def problem(
    status: int,
    title: str,
    detail: str,
    *,
    type: str = "about:blank",
    field: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    body: dict[str, Any] = {"type": type, "title": title, "status": status, "detail": detail}
    if field is not None:
        body["field"] = field
    return JSONResponse(
        body, status, media_type="application/problem+json", headers=dict(headers or {})
    )


def kind_of(error: Exception) -> Kind:
    """The table's row for the nearest base class of `error`."""
    return next(TABLE[base] for base in type(error).__mro__ if base in TABLE)


def problem_of(error: Exception) -> JSONResponse:
    """The answer that the table has for an error."""
    kind = kind_of(error)
    status, headers = kind.status, {}
    if status >= 500:
        log.error("%s", kind.title, exc_info=error)
    if isinstance(error, errors.UnauthorizedError):
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, errors.QuotaError) and error.retry_after is not None:
        status, headers["Retry-After"] = 429, str(error.retry_after)
    return problem(
        status, kind.title, str(error), type=kind.type,
        field=getattr(error, "field", kind.field), headers=headers,
    )  # fmt: skip


def _known(request: Request, error: Exception) -> JSONResponse:
    if isinstance(error, errors.SandboxError):
        request.app.state.service.store.count("sandbox_refusals", error.reason)
    return problem_of(error)


def _http(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return problem(error.status_code, error.detail, error.detail, headers=error.headers)


def _invalid(_: Request, error: Exception) -> JSONResponse:
    """OGC API - Processes wants 400 where FastAPI says 422."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = [str(part) for part in first["loc"] if part not in ("body", "query", "path")]
    detail = f"{'.'.join(place) or 'The request'}: {first['msg']}."
    return problem(400, "Request not valid", detail, field=".".join(place) or None)


def _unexpected(request: Request, error: Exception) -> JSONResponse:
    # The reason is in the log, not in the answer: it may name files and addresses.
    del error
    # Answered outside of every middleware.
    return problem(500, "Unexpected error", FAILED, headers=headers_of(request.scope))


def add_problem_handlers(app: FastAPI) -> None:
    for error in TABLE:
        app.add_exception_handler(error, _known)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _unexpected)
