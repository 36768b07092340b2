"""The main job on a scene that the project generates itself, through the real service."""

from __future__ import annotations

import shutil
import socket
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from geoanomaly.client import Client
from geoanomaly.evaluation.evaluate import evaluate_files
from geoanomaly.service import Service
from geoanomaly.settings import Settings
from geoanomaly.synthetic import ScenePair, generate, render
from geoanomaly.types import Progress, Report


class Demo:
    """A service of its own with one job; removed at the end unless `data_dir` is given."""

    def __init__(self, data_dir: Path | None, *, port: int, size: int, seed: int) -> None:
        self._temporary = data_dir is None
        self.folder = data_dir or Path(tempfile.mkdtemp(prefix="geoanomaly-demo-"))
        self.size, self.seed = size, seed
        # Its own, on loopback: a key that the environment asks for elsewhere is not needed here.
        settings = Settings(data_dir=self.folder / "data", access=False)
        try:
            self._service = Service(settings, "127.0.0.1", port if _free(port) else 0)
        except BaseException:
            self._tidy()
            raise

    def __enter__(self) -> Self:
        try:
            self._service.__enter__()
        except BaseException:
            self._tidy()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._service.__exit__(kind, error, traceback)
        finally:
            self._tidy()

    def run_job(self, report: Report) -> str:
        """Generate the pair, upload it, run detect-change; the id of the finished job."""
        report(Progress("generating", 0, f"a scene pair of {self.size} x {self.size} pixels"))
        pair = generate(self.scenes, size=self.size, seed=self.seed)
        with Client(self._service.url) as client:
            report(Progress("uploading", 0, "two scenes"))
            inputs = {
                "before": client.upload(pair.before, date=render.JULY.date),
                "after": client.upload(pair.after, date=render.AUGUST.date),
            }
            job_id = client.submit("detect-change", inputs)
            client.follow(job_id, report)
            client.download(job_id, self.folder / "result")
        self._pair = pair
        return job_id

    @property
    def scenes(self) -> Path:
        return self.folder / "scenes"

    def verdict(self, job_id: str) -> str:
        """The accuracy against the planted truth, and where to look."""
        pair: ScenePair = self._pair
        evaluation = evaluate_files(self.folder / "result" / "heatmap.tif", pair.truth)
        planted = ", ".join(sorted({each.kind for each in pair.anomalies}))
        gone = " (removed at the end; --data-dir keeps them)" if self._temporary else ""
        return (
            f"\nagainst the planted truth ({planted}):\n{evaluation.as_table()}\n\n"
            f"map:   {self._service.url}/ui/jobs/{job_id}\n"
            f"jobs:  {self._service.url}/ui\n"
            f"files: {self.folder / 'result'}{gone}"
        )

    def wait(self) -> None:
        self._service.wait()

    def _tidy(self) -> None:
        if self._temporary:
            shutil.rmtree(self.folder, ignore_errors=True)


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return probe.connect_ex(("127.0.0.1", port)) != 0
