"""A client of the service: what the command line and scripts use."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import httpx

from geoanomaly import errors
from geoanomaly.types import JobStatus, Progress, Report, silent

if TYPE_CHECKING:
    from geoanomaly.results.heatmap import Heatmap

POLL_SECONDS = 1.0
# A scene of gigabytes is read through before the answer comes.
TIMEOUT = httpx.Timeout(30.0, read=600.0, write=600.0)
# The service pings every 15 s: a stream that is silent for longer is dead.
STREAM_TIMEOUT = httpx.Timeout(30.0, read=40.0)


class Client:
    """Talks to one service. Its errors are those of `geoanomaly.errors`, as if the work were local.

    url: where the service is, with its path prefix if it has one.
    key: an API key; by default that of GEOANOMALY_API_KEY, if there is one.
    transport: for tests and for those who need a proxy of their own.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self._http = httpx.Client(
            base_url=f"{self.url}/", timeout=TIMEOUT, transport=transport, headers=_sent(key)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def upload(self, path: Path, sensor: str | None = None, date: str | None = None) -> str:
        """Send a raster; the answer is its scene id."""
        if not path.is_file():
            raise errors.SceneError(f"There is no file {path}.", field="file")
        values = {"sensor": sensor, "date": date}
        data = {key: value for key, value in values.items() if value is not None}
        with path.open("rb") as file:
            found = self._json("POST", "scenes", files={"file": (path.name, file)}, data=data)
        return str(found["id"])

    def submit(
        self, process: str, inputs: Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> str:
        """Ask for a job; the answer is its id. With a key, asking twice gives one job."""
        headers = {} if idempotency_key is None else {"Idempotency-Key": idempotency_key}
        address = f"processes/{process}/execution"
        found = self._json("POST", address, json={"inputs": dict(inputs)}, headers=headers)
        return str(found["jobID"])

    def status(self, job_id: str) -> dict[str, Any]:
        return self._json("GET", f"jobs/{job_id}")

    def jobs(self, *, limit: int = 20, **filters: str) -> list[dict[str, Any]]:
        """Newest first. filters: `status`, `processID`."""
        found = self._json("GET", "jobs", params={"limit": limit, **filters})
        return list(found["jobs"])

    def cancel(self, job_id: str) -> dict[str, Any]:
        return self._json("DELETE", f"jobs/{job_id}")

    def watch(self, job_id: str) -> Iterator[dict[str, Any]]:
        """The state now, then each change of it, until the job ends.

        A stream that breaks is no reason to stop: the state is asked for instead.
        """
        last: dict[str, Any] = {}
        for state in self._states(job_id):
            if state != last:
                yield state
            last = state
            if is_final(state):
                return

    def follow(self, job_id: str, report: Report) -> dict[str, Any]:
        """Report progress until the job ends; JobFailedError with its reason when it fails."""
        state: dict[str, Any] = {}
        for state in self.watch(job_id):
            stage, percent = str(state.get("stage") or state["status"]), state.get("progress")
            report(Progress(stage, float(percent or 0), str(state.get("message") or "")))
        if state.get("status") != "successful":
            reason = f"Job {job_id} {state.get('status')}: {state.get('message')}"
            raise errors.JobFailedError(reason)
        return state

    def download(self, job_id: str, out: Path, names: Sequence[str] | None = None) -> list[Path]:
        """Fetch a job's files (all, or those of `names`) into `out`, each whole or not at all."""
        results = self._json("GET", f"jobs/{job_id}/results")
        available = [entry["title"] for entry in results.values()]
        for name in names or ():
            if name not in available:
                raise errors.NotFoundError(
                    f"Job {job_id} has no file {name!r}. It has: {', '.join(available)}."
                )
        out.mkdir(parents=True, exist_ok=True)
        return [self._fetch(job_id, name, out) for name in names or available]

    def result(self, job_id: str, out: Path | str) -> Heatmap:
        """Wait for a detection and fetch its files into `out`; Jupyter shows it as a map."""
        from geoanomaly.results.heatmap import Heatmap  # it makes maps, which few clients do

        self.follow(job_id, silent)
        self.download(job_id, Path(out))
        return Heatmap(Path(out))

    def _states(self, job_id: str) -> Iterator[dict[str, Any]]:
        while True:
            # Dropped by a proxy or a restart: the next call tells whether the service is gone.
            with suppress(httpx.TransportError, httpx.StreamError):
                yield from self._stream(job_id)
            yield without_links(self.status(job_id))
            time.sleep(POLL_SECONDS)

    def _stream(self, job_id: str) -> Iterator[dict[str, Any]]:
        address = f"jobs/{job_id}/events"
        with self._http.stream("GET", address, timeout=STREAM_TIMEOUT) as response:
            self._check(response)
            for line in response.iter_lines():
                if line.startswith("data:"):
                    yield json.loads(line.removeprefix("data:"))

    def _fetch(self, job_id: str, name: str, out: Path) -> Path:
        path = out / Path(name).name
        partial = path.with_name(f".{path.name}.partial")
        try:
            with (
                self._reaching(),
                self._http.stream("GET", f"jobs/{job_id}/files/{name}") as response,
                partial.open("wb") as file,
            ):
                self._check(response)
                for block in response.iter_bytes(1024 * 1024):
                    file.write(block)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        return path

    def _json(self, method: str, address: str, **options: Any) -> dict[str, Any]:
        with self._reaching():
            response = self._http.request(method, address, **options)
            self._check(response)
        found: dict[str, Any] = response.json()
        return found

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except httpx.TransportError as error:
            raise errors.ServiceError(
                f"The service at {self.url} cannot be reached ({error}). "
                "`geoanomaly serve` starts one; --url names another."
            ) from error

    def _check(self, response: httpx.Response) -> None:
        if response.is_error:
            response.read()
            raise error_of(response, self.url)


def _sent(key: str | None) -> dict[str, str]:
    # An option of a command would show it in the list of processes.
    key = os.environ.get("GEOANOMALY_API_KEY") if key is None else key
    return {"Authorization": f"Bearer {key.strip()}"} if key else {}


def is_final(state: Mapping[str, Any]) -> bool:
    return JobStatus(state["status"]).final


def without_links(state: Mapping[str, Any]) -> dict[str, Any]:
    """A status document as the stream of events has it."""
    beside = ("links", "title", "outputs")
    return {key: value for key, value in state.items() if key not in beside}


_BY_TITLE: Mapping[str, type[errors.InputError]] = {
    "Scene cannot be used": errors.SceneError,
    "Area cannot be used": errors.AreaError,
    "Parameter not allowed": errors.ParameterError,
}
_BY_ACCESS: Mapping[str, type[errors.AccessError]] = {
    "No valid key": errors.UnauthorizedError,
    "Not allowed": errors.ForbiddenError,
    "More than you may have": errors.QuotaError,
}
_BY_TYPE: Mapping[str, type[errors.GeoanomalyError]] = {
    "result-not-ready": errors.ResultNotReadyError,
    "no-such-job": errors.NotFoundError,
}


def error_of(response: httpx.Response, url: str) -> errors.GeoanomalyError:
    """The error that a problem document tells of; ServiceError when it is none of ours."""
    try:
        problem = response.json()
        detail = str(problem["detail"])
    except (ValueError, KeyError, TypeError):
        return errors.ServiceError(
            f"{url} answered {response.status_code} and no problem document: "
            "is that a geoanomaly service?"
        )
    title, field = problem.get("title", ""), problem.get("field")
    if kind := _BY_TYPE.get(str(problem.get("type", "")).rsplit("/", 1)[-1]):
        return kind(detail)
    if title == "Job ended without a result":
        return errors.JobFailedError(detail)
    if response.status_code == 404:
        return errors.NotFoundError(detail)
    if kind_of_access := _BY_ACCESS.get(title):
        return kind_of_access(detail)
    if response.status_code < 500:
        return _BY_TITLE.get(title, errors.InputError)(detail, field=field or "request")
    return errors.ServiceError(detail)
