"""A worker for the nemesis: tiles and a result that depend on the job's seed alone.

A tile is committed by a hard link, which fails where the tile is there already, and every
tile that was computed is entered in a ledger. Both have the job's seed.
"""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

from geoanomaly.settings import Settings
from geoanomaly.types import JobSpec, Progress, Report, RunResult
from tasks.worker import main
from tiling.cog import whole_file

TILES = 6
TILE_SECONDS = 0.08
RESULT = "heatmap.tif"


def tile(seed: int, number: int) -> bytes:
    return hashlib.sha256(f"{seed} {number}".encode()).digest() * 64


def result(seed: int) -> bytes:
    """What an undisturbed run publishes."""
    return b"".join(tile(seed, number) for number in range(TILES))


def run(
    spec: JobSpec, *, out: Path, scratch: Path, settings: Settings, report: Report
) -> RunResult:
    report(Progress("reading", 0, "opening the scene"))
    for number in range(TILES):
        report(Progress("scoring", 90 * number / TILES, f"{number} of {TILES} tiles"))
        if not (scratch / f"tile-{number}").exists():
            time.sleep(TILE_SECONDS)
            with (settings.data_dir / "ledger").open("a") as ledger:
                ledger.write(f"{spec.seed} {number}\n")
            _commit(scratch, number, tile(spec.seed, number))
    report(Progress("writing", 90, "heatmap"))
    with whole_file(out / RESULT) as partial, partial.open("wb") as file:
        for number in range(TILES):
            file.write((scratch / f"tile-{number}").read_bytes())
    return RunResult((RESULT,))


def _commit(scratch: Path, number: int, data: bytes) -> None:
    partial = scratch / f".{os.getpid()}-{number}"
    partial.write_bytes(data)
    os.link(partial, scratch / f"tile-{number}")
    partial.unlink()


if __name__ == "__main__":
    main(load=lambda: run)
