"""Fixtures of the whole suite."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from geoanomaly.settings import Settings

# As a job does it: tests run side by side, and threads that spin at barriers cost them dearly.
for _library in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_library, "1")

# A shell that starts the tests in the background has Ctrl-C ignored, also by the children whose
# answer to it is tested.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# CI machines stall; how long an example takes says nothing there.
hypothesis.settings.register_profile("geoanomaly", deadline=None, max_examples=40)
hypothesis.settings.load_profile("geoanomaly")


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Tests see no setting of the machine, and write nothing into the user's data folder."""
    for name in [name for name in os.environ if name.startswith("GEOANOMALY_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GEOANOMALY_DATA_DIR", str(tmp_path / "data"))


@pytest.fixture(scope="session")
def scheduler() -> Iterator[str]:
    """Address of a real Dask cluster: two worker processes with one thread each."""
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=":0", processes=True
    ) as cluster:
        yield cluster.scheduler_address


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data", threads=2)
