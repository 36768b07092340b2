"""How fast the tiles go, by a clock that the test turns."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from geoanomaly.progress import Pace
from geoanomaly.scoring import BLANK, share_of_files
from tests.rasters import NORTH_UP, UTM
from tiling.grid import GROUP, TileGrid, group_shape, spread


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_rate_and_rest(clock: Clock) -> None:
    pace = Pace(10, 0, 20, 80, clock=clock)
    clock.now += 4
    first = pace.step()
    assert first.stage == "scoring"
    assert first.percent == pytest.approx(26)
    assert first.message == "1 of 10 tiles, 0.2 a second, 36 s left"
    clock.now += 1
    for _ in range(8):
        pace.step()
    assert pace.step().message == "10 of 10 tiles, 2.0 a second, 0 s left"
    assert pace.progress().percent == 80


def test_tiles_of_an_earlier_run_count_as_done_and_not_as_fast(clock: Clock) -> None:
    pace = Pace(10, 8, 0, 100, clock=clock)
    assert pace.progress().percent == 80
    assert pace.progress().message == "8 of 10 tiles"
    clock.now += 2
    assert pace.step().message == "9 of 10 tiles, 0.5 a second, 2 s left"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (61, "1 min 1 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h 0 min"),
        (90_061, "25 h 1 min"),
    ],
)
def test_time_left_in_words(clock: Clock, seconds: float, text: str) -> None:
    pace = Pace(2, 0, 0, 100, clock=clock)
    clock.now += seconds
    assert pace.step().message.endswith(f" {text} left")


def test_no_tiles_and_no_time(clock: Clock) -> None:
    assert Pace(0, 0, 10, 90, clock=clock).progress().percent == 90
    assert Pace(3, 0, 0, 90, clock=clock).step().message == "1 of 3 tiles"


@given(
    total=st.integers(1, 60),
    share=st.floats(0, 1),
    ends=st.tuples(st.floats(0, 50), st.floats(50, 100)),
)
def test_percent_never_falls_and_ends_where_it_must(
    total: int, share: float, ends: tuple[float, float]
) -> None:
    pace = Pace(total, int(total * share), *ends, clock=Clock())
    percents = [pace.progress().percent]
    percents += [pace.step().percent for _ in range(total - pace.done)]
    assert percents == sorted(percents)
    assert percents[0] >= ends[0]
    assert percents[-1] == pytest.approx(ends[1])


@pytest.mark.parametrize(
    "sea",
    [
        pytest.param(lambda row, _: row < 32, id="north"),
        pytest.param(lambda _, col: col < 32, id="west"),
        pytest.param(lambda row, col: row + col < 64, id="north-west"),
        pytest.param(lambda row, col: np.hypot(row - 32, col - 32) > 22, id="all around"),
    ],
)
@pytest.mark.parametrize(
    ("side", "told"),
    [
        pytest.param(64, False, id="of many tiles, which are not known to be empty"),
        pytest.param(22, True, id="of the tiles of a Sentinel-2 scene, which are"),
        pytest.param(8, True, id="of few tiles, which are"),
    ],
)
def test_time_left_is_honest_to_a_tenth_where_half_of_the_scene_is_empty(
    clock: Clock, sea: Callable[[float, float], bool], side: int, told: bool
) -> None:
    """Sea costs next to nothing; after the tiles come the files."""
    grid = TileGrid(GeoBox((10 * side, 10 * side), NORTH_UP, UTM), 10)
    scale = 64 / side
    empty = {tile.index for tile in grid if sea(*(scale * place for place in tile.index))}
    # As a Sentinel-2 scene of four bands on disk is worked on, or one of which nothing is known.
    group = group_shape(side, 2 * 2**20, 1, 128 * 2**20) if told else GROUP
    tiles = spread(list(grid), empty if told else (), group)
    cost = {tile.index: BLANK if tile.index in empty else 1.0 for tile in tiles}
    cost = {index: 1000 * each for index, each in cost.items()}
    scoring = sum(cost.values())
    after = share_of_files(len(tiles) - len(empty), len(empty), 0, 512)
    pace, began = Pace(len(tiles), 0, 40, 90, after=after, clock=clock), clock.now
    for number, tile in enumerate(tiles, start=1):
        clock.now += cost[tile.index]
        progress = pace.step()
        if number > len(tiles) // 2:
            left = scoring * (1 + after) - (clock.now - began)
            assert _seconds(progress.message) == pytest.approx(left, abs=0.1 * scoring)


def _seconds(message: str) -> int:
    parts = message.split(", ")[-1].removesuffix(" left").split(" ")
    units = {"h": 3600, "min": 60, "s": 1}
    return sum(int(parts[i]) * units[parts[i + 1]] for i in range(0, len(parts), 2))
