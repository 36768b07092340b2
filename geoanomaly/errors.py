"""Everything that can go wrong, as a tree.

::

    GeoanomalyError
    ├── InputError            the request cannot be served as it stands (exit 2, HTTP 400)
    │   ├── SceneError        a raster: missing, truncated, no CRS, other bands, all nodata
    │   │   └── SandboxError  it was not taken in
    │   ├── AreaError         an area of interest: self-crossing, outside, empty
    │   ├── IncomparableError two dates: other place, cloud, no relation, misregistered
    │   └── ParameterError    a name or number: detector, sensor, tile size, rate
    ├── NotFoundError         exit 2, HTTP 404
    │   ├── UnknownJobError
    │   ├── UnknownModelError
    │   └── UnknownSceneError
    ├── AccessError           who asks may not, or not so much
    │   ├── UnauthorizedError no valid key (HTTP 401)
    │   ├── ForbiddenError    a key whose role does not allow it (HTTP 403)
    │   └── QuotaError        more than an owner may have (HTTP 403, or 429: later)
    ├── ResultNotReadyError   the job exists, its result does not yet (HTTP 404)
    ├── JobFailedError        the job ended without a result (HTTP 404 on results)
    ├── JobCancelledError     somebody asked the job to stop
    ├── LeaseLostError        another worker owns the job now
    ├── TileError             a tile failed for good: its window and the cause
    └── ServiceError          the service cannot be reached or a part of it did not start

Messages give the value, the limit and the remedy. `InputError.field` names
the input that is at fault, so that a page can show the message beside it.
`web.problems` maps the tree to HTTP statuses, `geoanomaly.cli` to exit codes.
"""

from __future__ import annotations


class GeoanomalyError(Exception):
    """Base of every error that this project raises on purpose."""


class InputError(GeoanomalyError):
    """The request cannot be served as it stands; `field` names the input at fault."""

    def __init__(self, message: str, *, field: str) -> None:
        super().__init__(message)
        self.field = field


class SceneError(InputError):
    """A raster cannot be used: missing, truncated, no CRS, other bands, all nodata."""


class SandboxError(SceneError):
    """A raster was not taken in. reason: what ended its reading, as `/metrics` counts it."""

    def __init__(self, message: str, *, field: str, reason: str) -> None:
        super().__init__(message, field=field)
        self.reason = reason


class AreaError(InputError):
    """An area of interest cannot be used."""

    def __init__(self, message: str, *, field: str = "aoi") -> None:
        super().__init__(message, field=field)


class CrossingAreaError(AreaError):
    """An outline crosses itself. Who gave it may ask for its repair."""


class IncomparableError(InputError):
    """Two dates cannot be compared; the message has what was measured and what would do."""


class ParameterError(InputError):
    """A name or a number is not one that the service knows or allows."""


class NotFoundError(GeoanomalyError):
    """The thing asked for does not exist, or not for this user."""


class UnknownJobError(NotFoundError):
    def __init__(self, job_id: str) -> None:
        super().__init__(f"There is no job {job_id!r}. GET /jobs lists those that exist.")


class UnknownModelError(NotFoundError):
    def __init__(self, name: str, known: tuple[str, ...] = ()) -> None:
        have = ", ".join(known) if known else "none yet"
        super().__init__(
            f"There is no model {name!r} (models here: {have}). "
            "`geoanomaly train --name NAME SCENE` makes one."
        )


class UnknownSceneError(NotFoundError):
    def __init__(self, scene_id: str) -> None:
        super().__init__(f"There is no scene {scene_id!r}. GET /scenes lists those that exist.")


class AccessError(GeoanomalyError):
    """Who asks may not, or not so much."""


class UnauthorizedError(AccessError):
    """No key, or none that is valid."""


class ForbiddenError(AccessError):
    """The role of the key does not allow it."""


class QuotaError(AccessError):
    """More than an owner may have at a time. retry_after: seconds; None = waiting does not help."""

    def __init__(self, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ResultNotReadyError(GeoanomalyError):
    """The job exists, its result does not yet."""


class JobFailedError(GeoanomalyError):
    """The job ended without a result; the message is the reason it recorded."""


class JobCancelledError(GeoanomalyError):
    """Somebody asked the job to stop; raised at the next checkpoint."""


class LeaseLostError(GeoanomalyError):
    """Another worker owns the job now; whatever this one still does must not be recorded."""


class TileError(GeoanomalyError):
    """A tile failed for good: its window and the cause."""


class ServiceError(GeoanomalyError):
    """The service cannot be reached, or a part of it did not start."""
