"""One function over all tiles, on threads and on a real cluster."""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from odc.geo.geobox import GeoBox

from tests.rasters import NORTH_UP, UTM
from tiling.grid import TileGrid
from tiling.runner import TileFailedError, run_tiles
from tiling.scratch import TileStore
from tiling.types import Tile

GRID = TileGrid(GeoBox((130, 190), NORTH_UP, UTM), 32)


@dataclass(frozen=True)
class Number:
    """Writes a tile's own number."""

    store: TileStore

    def __call__(self, tile: Tile) -> None:
        row, col = tile.index
        self.store.write(tile, np.full(tile.shape, row * 100 + col, np.float32))


@pytest.fixture
def store(tmp_path: Path) -> TileStore:
    made = TileStore(tmp_path / "s.zarr")
    made.create(GRID)
    return made


def check(store: TileStore) -> None:
    assert store.missing(GRID) == []
    for tile, core in store.cores(GRID):
        row, col = tile.index
        assert (core == row * 100 + col).all()


def test_all_tiles_on_threads(store: TileStore) -> None:
    done: list[str] = []
    run_tiles(
        Number(store),
        list(GRID),
        threads=2,
        on_done=lambda: done.append(threading.current_thread().name),
    )
    check(store)
    assert done == [threading.current_thread().name] * len(GRID)


def test_threads_take_the_tiles_in_their_order() -> None:
    """Neighbours follow one another: they share blocks of the source."""
    taken: list[Tile] = []
    given = list(GRID)[::-1]
    run_tiles(taken.append, given, threads=1, on_done=lambda: None)
    assert taken == given
    taken.clear()
    run_tiles(taken.append, given, threads=2, on_done=lambda: None)
    places = [given.index(tile) for tile in taken]
    assert max(abs(place - number) for number, place in enumerate(places)) <= 4


@pytest.mark.service
def test_all_tiles_on_a_cluster(store: TileStore, scheduler: str) -> None:
    done: list[int] = []
    run_tiles(
        Number(store), list(GRID), threads=2, scheduler=scheduler, on_done=lambda: done.append(1)
    )
    check(store)
    assert len(done) == len(GRID)


@dataclass(frozen=True)
class Slow:
    """Notes who does which tile, and takes its time."""

    store: TileStore
    notes: Path

    def __call__(self, tile: Tile) -> None:
        with self.notes.open("a") as file:
            file.write(f"{os.getpid()}\n")
        time.sleep(0.05)
        Number(self.store)(tile)


@pytest.mark.service
def test_a_killed_worker_costs_only_its_tiles(
    store: TileStore, tmp_path: Path, scheduler: str
) -> None:
    notes = tmp_path / "notes"
    done: list[int] = []

    def kill_one() -> None:
        done.append(1)
        if len(done) == 5:
            os.kill(int(notes.read_text().split()[0]), signal.SIGKILL)

    work = Slow(store, notes)
    run_tiles(work, list(GRID), threads=2, scheduler=scheduler, on_done=kill_one)
    check(store)
    # What is finished is in the store, but a worker's own record of it dies with it.
    assert len(notes.read_text().split()) <= len(GRID) + 6


def test_a_tile_may_fail_twice(store: TileStore) -> None:
    tries: dict[tuple[int, int], int] = {}

    def flaky(tile: Tile) -> None:
        tries[tile.index] = tries.get(tile.index, 0) + 1
        if tile.index == (1, 1) and tries[tile.index] < 3:
            raise OSError("connection reset")
        Number(store)(tile)

    run_tiles(flaky, list(GRID), threads=2, on_done=lambda: None)
    check(store)


def test_a_tile_that_fails_for_good_names_its_window_and_cause(store: TileStore) -> None:
    def broken(tile: Tile) -> None:
        if tile.index == (2, 3):
            raise OSError("bad block")
        Number(store)(tile)

    with pytest.raises(TileFailedError, match=r"rows 64-96, columns 96-128.*3 times: bad block"):
        run_tiles(broken, list(GRID), threads=2, on_done=lambda: None)


def test_the_caller_can_stop_between_tiles(store: TileStore) -> None:
    class StopError(Exception):
        pass

    def stop() -> None:
        raise StopError

    with pytest.raises(StopError):
        run_tiles(Number(store), list(GRID), threads=1, on_done=stop)
    assert len(store.missing(GRID)) >= len(GRID) - 3
