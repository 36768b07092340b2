"""The whole API under generated requests, one by one and in chains: nothing may be a 5xx.

`python -m tests.web.fuzzing [--seconds N] [--examples N] [--seed N]`, or `make fuzz`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx

from geoanomaly.access.keys import Role
from geoanomaly.access.store import KeyStore
from geoanomaly.settings import Settings
from tests.web import backend as module
from tests.web.backend import Backend
from web.app import create_app
from web.service import check_spec

CONFIG = """
[parameters]
"path.job_id" = "{job}"
"path.scene_id" = "{scene}"
"path.tileMatrixSetId" = "WebMercatorQuad"
"path.key" = "100-100"
"path.process_id" = "detect-anomaly"
"""


@dataclass(frozen=True)
class Target:
    """A service with a finished job and a scene, and the key of their owner."""

    backend: Backend
    token: str
    config: Path


@contextmanager
def target(folder: Path) -> Iterator[Target]:
    """Jobs end as soon as they are accepted, so that chains of requests come to results."""
    roots = (folder / "archive",)
    settings = Settings(
        data_dir=folder / "data", scene_roots=roots, access=True, quota_jobs=10**6,
        max_upload_bytes=4_000_000,
    )  # fmt: skip

    def finish(job_id: str, _: Settings) -> bool:
        found.finish(found.store.get(job_id))
        return True

    app = create_app(settings, check=check_spec, ring=finish)
    store = app.state.service.store
    token = KeyStore(store.database).create("alice", Role.ADMIN).token
    found = Backend("", settings, store, None)  # type: ignore[arg-type]
    mine = replace(found, store=store.on_behalf_of("alice"))
    with module.serving(app) as url:
        job = mine.finished_pair()
        sent = {"file": ("a.tif", Path(job.spec.after.href).read_bytes())}
        headers = {"Authorization": f"Bearer {token}"}
        scene = httpx.post(f"{url}/scenes", files=sent, headers=headers, timeout=60).json()["id"]
        config = folder / "schemathesis.toml"
        config.write_text(CONFIG.format(job=job.id, scene=scene))
        yield Target(replace(found, url=url), token, config)


GO_ON = "--continue-on-failure"
ALL = "examples,coverage,fuzzing,stateful"


def run(
    place: Target, *more: str, seconds: int, examples: int, seed: int, phases: str = ALL
) -> subprocess.CompletedProcess[str]:
    command = [
        str(Path(sys.executable).with_name("st")), f"--config-file={place.config}", "run",
        f"{place.backend.url}/api", f"--header=Authorization: Bearer {place.token}",
        f"--phases={phases}", "--checks=not_a_server_error",
        f"--max-examples={examples}", f"--seed={seed}", f"--max-time={seconds}",
        "--request-timeout=30", "--no-color",
        "--suppress-health-check=all", *more,
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, cwd=place.config.parent)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--examples", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="geoanomaly-fuzz-") as folder,
        target(Path(folder)) as place,
    ):
        done = run(place, GO_ON, **vars(options))
    print(done.stdout, done.stderr, sep="\n")
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
