"""The windows a detector learns from: seeded, bounded, and only where it may learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shapely.geometry import box

from geoanomaly.scenes import sampling
from geoanomaly.scenes.inputs import Inputs, open_inputs
from geoanomaly.scenes.sampling import MAX_WINDOWS, WINDOW, Sample, draw, merge, pick
from geoanomaly.types import AOI, JobSpec, Process, Progress, Scene, silent
from tests.rasters import NORTH_UP, UTM, write_raster


def square(col: int, row: int, width: int, height: int) -> AOI:
    """An area of whole pixels."""
    left, top = NORTH_UP @ (col, row)
    return AOI(box(left, top - 10 * height, left + 10 * width, top), UTM)


def opened(folder: Path, *data: Any, aoi: AOI | None = None, **options: Any) -> Inputs:
    """One scene or a pair, as a job opens it."""
    scenes = tuple(
        Scene(str(write_raster(folder / f"{number}.tif", each, **options)), sensor="generic")
        for number, each in enumerate(data)
    )
    process = Process.DETECT_CHANGE if len(scenes) == 2 else Process.DETECT_ANOMALY
    return open_inputs(JobSpec(process, scenes, aoi=aoi))


def places(height: int, width: int) -> Any:
    """Every pixel has a number of its own, from 1."""
    return np.arange(1, height * width + 1, dtype=np.float32).reshape(1, height, width)


def learnt(sample: Sample) -> np.ndarray:
    """The numbers of the pixels that may be learnt from."""
    return np.sort(sample.batches[0].data[:, 0][sample.core])


def take(inputs: Inputs, **options: Any) -> Sample:
    return draw(inputs, **{"halo": 4, "seed": 0, "report": silent, **options})


def test_a_small_scene_is_learnt_from_whole_and_once(tmp_path: Path) -> None:
    data = places(200, 300)
    sample = take(opened(tmp_path, data))
    assert np.array_equal(learnt(sample), data.ravel())
    assert sample.pixels == 60_000
    assert sample.core.shape[1:] == (WINDOW + 8, WINDOW + 8)


def test_the_halo_holds_the_neighbours_and_is_not_learnt_from(tmp_path: Path) -> None:
    data = places(256, 256)
    sample = take(opened(tmp_path, data))
    edge = np.ones(sample.core.shape[1:], bool)
    edge[4:-4, 4:-4] = False
    assert not sample.core[:, edge].any()
    for values, valid in zip(sample.batches[0].data[:, 0], sample.batches[0].valid, strict=True):
        row, col = divmod(int(values[4, 4]) - 1, 256)
        around = np.zeros((WINDOW + 8, WINDOW + 8), np.float32)
        rows, cols = np.arange(row - 4, row + 132), np.arange(col - 4, col + 132)
        known = np.ix_((rows >= 0) & (rows < 256), (cols >= 0) & (cols < 256))
        around[known] = data[0][np.ix_(rows[(rows >= 0) & (rows < 256)],
                                       cols[(cols >= 0) & (cols < 256)])]  # fmt: skip
        assert np.array_equal(values, around)
        assert np.array_equal(valid, around > 0)


def test_the_cost_does_not_grow_with_the_scene(tmp_path: Path) -> None:
    """A scene of 400 windows gives the budget, and looks at no more than it needs."""
    sample = take(opened(tmp_path, places(2560, 2560)))
    assert len(sample.core) == MAX_WINDOWS
    assert sample.pixels == MAX_WINDOWS * WINDOW**2


def test_many_bands_are_sampled_in_fewer_windows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling, "MAX_BYTES", 12 * (WINDOW + 8) ** 2 * 4)
    wide = np.repeat(places(512, 512), 2, axis=0)
    assert len(take(opened(tmp_path, wide)).core) == 6
    assert len(take(opened(tmp_path, wide, wide)).core) == 4  # the least
    assert len(take(opened(tmp_path, wide), share=3).core) == 2


def test_the_seed_chooses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "MAX_WINDOWS", 5)
    inputs = opened(tmp_path, places(1024, 1024))
    first, again, other = (take(inputs, seed=seed) for seed in (7, 7, 8))
    assert np.array_equal(first.batches[0].data, again.batches[0].data)
    assert not np.array_equal(first.batches[0].data, other.batches[0].data)
    assert len(np.unique(learnt(first))) == first.pixels == 5 * WINDOW**2


def test_only_the_area_is_learnt_from(tmp_path: Path) -> None:
    data = places(300, 300)
    sample = take(opened(tmp_path, data, aoi=square(40, 50, 100, 60)))
    assert np.array_equal(learnt(sample), data[0, 50:110, 40:140].ravel())


def test_excluded_polygons_are_not_learnt_from(tmp_path: Path) -> None:
    data = places(300, 300)
    sample = take(opened(tmp_path, data), exclude=square(100, 0, 100, 300))
    wanted = np.delete(data[0], np.s_[100:200], axis=1)
    assert np.array_equal(learnt(sample), np.sort(wanted.ravel()))


def test_an_excluded_polygon_may_have_another_crs(tmp_path: Path) -> None:
    data = places(100, 100)
    # East of the central meridian at 15 degrees, that is of column 0.
    sample = take(opened(tmp_path, data), exclude=AOI(box(15.0068, 48, 16, 49)))
    kept = learnt(sample).astype(int) - 1
    assert 45 <= (kept % 100).max() <= 55
    assert (kept % 100).min() == 0


def test_a_pixel_must_be_valid_in_both_scenes(tmp_path: Path) -> None:
    before, after = places(150, 150), places(150, 150)
    before[:, :50], after[:, :, 70] = np.nan, np.nan
    sample = take(opened(tmp_path, before, after))
    wanted = np.delete(after[0, 50:], 70, axis=1)
    assert np.array_equal(learnt(sample), wanted.ravel())
    for batch in sample.batches:
        assert batch.valid[sample.core].all()


def test_a_mostly_empty_scene_still_gives_some(tmp_path: Path) -> None:
    data = np.full((1, 512, 512), np.nan, np.float32)
    data[:, 300:310, 400:420] = 5
    assert take(opened(tmp_path, data)).pixels == 200


def test_an_empty_scene_gives_an_empty_sample(tmp_path: Path) -> None:
    sample = take(opened(tmp_path, np.full((2, 200, 200), np.nan, np.float32)))
    assert sample.pixels == 0
    assert sample.batches[0].data.shape[:2] == (0, 2)


def test_samples_of_two_scenes_are_joined(tmp_path: Path) -> None:
    parts = []
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        parts.append(take(opened(folder, places(100, 100) + 10_000 * number)))
    both = merge(parts)
    assert np.array_equal(learnt(both), np.arange(1, 20_001))
    assert both.halo == 4


def test_progress_is_told(tmp_path: Path) -> None:
    seen: list[Progress] = []
    take(opened(tmp_path, places(300, 300)), report=seen.append)
    assert [each.stage for each in seen] == ["reading"] * 9
    assert [each.percent for each in seen] == sorted(each.percent for each in seen)
    assert seen[-1].percent <= 8
    assert seen[-1].message == "9 sample windows"


def test_picked_pixels_are_the_random_ones_of_all() -> None:
    """Gathering window by window gives what picking from everything at once would."""
    core = np.random.default_rng(1).random((3, 20, 30)) < 0.4
    values = np.random.default_rng(2).normal(size=core.shape)
    sample = Sample((), core, 0)
    for limit in (50, 10_000):
        picked = pick(sample, limit, np.random.default_rng(3))
        gathered = np.concatenate(
            [window.reshape(-1)[at] for window, at in zip(values, picked.windows, strict=True)]
        )
        expected = values[core][np.random.default_rng(3).permutation(sample.pixels)[:limit]]
        assert np.array_equal(gathered[picked.order], expected)
        assert np.array_equal(values[core][picked.number], expected)
