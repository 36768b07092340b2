"""The classical change detectors: against their definitions, and what may not matter to them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from numpy.typing import NDArray
from safetensors.numpy import load, save
from scipy.interpolate import RegularGridInterpolator
from scipy.linalg import eigh
from scipy.ndimage import gaussian_filter
from scipy.stats import chi2
from sklearn.metrics import average_precision_score

from geoanomaly.detectors import detector_named, irmad, ravaen
from geoanomaly.detectors.base import Detector, FitOptions, State
from geoanomaly.detectors.change import HALO, SMOOTHING
from geoanomaly.detectors.irmad import fit_alteration
from geoanomaly.pipeline import run
from geoanomaly.scenes import sampling
from geoanomaly.scenes.inputs import Inputs, open_inputs
from geoanomaly.settings import Settings
from geoanomaly.types import JobSpec, Process, Scene, silent
from tests.rasters import change_pair, texture, write_raster
from tiling.types import TileBatch

Array = NDArray[Any]
PIXELWISE = ("cva", "log-ratio", "irmad")
BLOCKWISE = ("ravaen", "ravaen-dense")
NAMES = (*PIXELWISE, *BLOCKWISE)


@pytest.fixture(autouse=True)
def _little_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tested of RaVAEn holds after any training."""
    monkeypatch.setattr(ravaen, "SCHEDULE", replace(ravaen.SCHEDULE, steps=10, batch=4))


def opened(
    folder: Path,
    before: Array,
    after: Array,
    *,
    sensor: str = "generic",
    nodata: float | None = None,
) -> Inputs:
    """A job's inputs from two arrays (band, y, x)."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [
        write_raster(folder / f"{name}.tif", data.astype("float32"), nodata=nodata)
        for name, data in (("before", before), ("after", after))
    ]
    scenes = tuple(Scene(str(path), sensor=sensor) for path in paths)
    return open_inputs(JobSpec(Process.DETECT_CHANGE, scenes))


def fitted(name: str, inputs: Inputs, seed: int = 0) -> Detector:
    family = detector_named(name).family()
    sample = sampling.draw(inputs, halo=family.halo(inputs.setting), seed=seed, report=silent)
    return family.fit(sample, FitOptions(inputs.setting, seed, silent))


def mapped(detector: Detector, inputs: Inputs, size: int = 1024) -> Array:
    """Scores of the whole grid, tile by tile."""
    out = np.full(inputs.geobox.shape, np.nan, np.float32)
    for tile in inputs.tiles(size, detector.halo):
        out[tile.core] = detector.score(inputs.read(tile))[0][tile.inner]
    return out


def scored(name: str, inputs: Inputs) -> Array:
    return mapped(fitted(name, inputs), inputs)


def two_dates(
    seed: int, bands: tuple[int, int], shape: tuple[int, int] = (150, 170)
) -> tuple[Array, Array]:
    """Positive ground at two dates of other bands, noisy, with a changed square."""
    ground = texture(seed, sum(bands), *shape)
    before, rest = ground[: bands[0]], ground[bands[0] :]
    mix = np.random.default_rng(seed).dirichlet(np.ones(bands[0]), bands[1])
    after = np.tensordot(mix, before, 1) * 0.9 + rest * 0.1
    after[:, 60:90, 70:100] += 80 * np.resize([1, -1], bands[1])[:, None, None]
    return before, after


def smoothed(size: Array, valid: NDArray[np.bool_]) -> Array:
    """Gaussian mean of the valid neighbours, by SciPy; NaN where not valid."""
    weight = valid.astype(float)
    sums = (
        gaussian_filter(data, SMOOTHING, mode="constant", radius=HALO)
        for data in (np.where(valid, size, 0.0), weight)
    )
    with np.errstate(invalid="ignore"):
        return np.where(valid, np.divide(*sums), np.nan)


def close(found: Array, wanted: Array, **tolerance: float) -> bool:
    return bool(np.allclose(found, wanted, equal_nan=True, **tolerance))


# --- cva ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("bands", [(1, 1), (3, 3), (1, 3)])
def test_cva_is_the_distance_of_z_scored_bands(tmp_path: Path, bands: tuple[int, int]) -> None:
    before, after = two_dates(1, bands)
    after[:, 20:30, 40:60] = -9999
    found = scored("cva", opened(tmp_path, before, after, nodata=-9999))
    valid = (after != -9999).all(axis=0)
    z = [
        [(band.astype(float) - band[valid].mean()) / band[valid].std(dtype=float) for band in date]
        for date in (before, after)
    ]
    if bands[0] != bands[1]:
        z = [[np.mean(date, axis=0)] for date in z]
    size = np.zeros(valid.shape)
    for row, col in np.ndindex(valid.shape):
        differences = [b[row, col] - a[row, col] for a, b in zip(*z, strict=True)]
        size[row, col] = np.sqrt(sum(d**2 for d in differences) / len(differences))
    assert close(found, smoothed(size, valid), rtol=1e-4, atol=1e-5)


def test_cva_takes_sar_in_the_log_domain(tmp_path: Path) -> None:
    before, after = two_dates(2, (1, 1))
    sar = scored("cva", opened(tmp_path / "sar", before, after, sensor="sar"))
    logs = scored("cva", opened(tmp_path / "log", np.log(before), np.log(after)))
    assert close(sar, logs, atol=1e-3)


# --- log-ratio ---------------------------------------------------------------------------------


@pytest.mark.parametrize("bands", [(1, 1), (2, 2), (2, 1)])
def test_the_log_ratio_is_one(tmp_path: Path, bands: tuple[int, int]) -> None:
    before, after = two_dates(3, bands)
    after[:, 20:30, 40:60] = -9999
    found = scored("log-ratio", opened(tmp_path, before, after, nodata=-9999, sensor="generic"))
    valid = (after != -9999).all(axis=0)
    size = np.zeros(valid.shape)
    for row, col in zip(*valid.nonzero(), strict=True):
        logs = [np.log(date[:, row, col].astype(float)) for date in (before, after)]
        if bands[0] != bands[1]:
            logs = [date.mean(keepdims=True) for date in logs]
        size[row, col] = np.mean([abs(b - a) for a, b in zip(*logs, strict=True)])
    assert close(found, smoothed(size, valid), rtol=1e-4, atol=1e-5)


def test_decibels_are_logarithms_already(tmp_path: Path) -> None:
    before, after = (date / 1e5 for date in two_dates(4, (2, 2)))
    power = scored("log-ratio", opened(tmp_path / "power", before, after, sensor="sar"))
    decibel = [10 * np.log10(date) for date in (before, after)]
    assert max(date.max() for date in decibel) < 0
    found = scored("log-ratio", opened(tmp_path / "decibel", *decibel, sensor="sar"))
    assert close(found, power * 10 / np.log(10), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("step", [1, -1])
def test_one_date_with_negative_values_makes_both_logarithms(tmp_path: Path, step: int) -> None:
    ground = texture(5, 1, 100, 100) / 1000
    assert (ground - 0.9).min() < 0
    found = scored("log-ratio", opened(tmp_path, *(ground, ground - 0.9)[::step]))
    assert close(found, np.full(found.shape, 0.9), atol=1e-4)


def test_a_change_of_most_of_the_scene_stays_visible(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    before = rng.gamma(4, 100, (1, 128, 128))
    after = rng.gamma(4, 100, (1, 128, 128))
    after[:, :100] /= 10
    found = scored("log-ratio", opened(tmp_path, before, after, sensor="sar"))
    assert found[:94].min() > found[106:].max()


@pytest.mark.parametrize("step", [1, -1])
def test_zeros_are_the_same_floor_at_both_dates(tmp_path: Path, step: int) -> None:
    """The lower floor: the darker date keeps what it has above it."""
    bright, dark = two_dates(7, (1, 1))
    dark = dark / 100
    bright[:, :, :20] = dark[:, :, :20] = 0
    found = scored("log-ratio", opened(tmp_path, *(bright, dark)[::step], sensor="sar"))
    assert np.abs(found[:, :8]).max() < 1e-5
    assert np.median(found[:, 30:]) == pytest.approx(np.log(100), rel=0.1)


def test_a_factor_that_both_dates_share_cancels(tmp_path: Path) -> None:
    before, after = two_dates(8, (2, 2))
    before[:, 5:9, 5:9] = 0  # the floor follows the factor
    plain = scored("log-ratio", opened(tmp_path / "plain", before, after))
    scaled = scored("log-ratio", opened(tmp_path / "scaled", before * 37, after * 37))
    assert close(scaled, plain, rtol=1e-3, atol=1e-4)


# --- irmad -------------------------------------------------------------------------------------


def plain_irmad(before: Array, after: Array, rounds: int) -> Array:
    """Chi-square statistic by the generalised eigenproblems of Nielsen's equations, (pixels,)."""
    p, q = before.shape[1], after.shape[1]
    if p > q:
        return plain_irmad(after, before, rounds)
    weight = np.ones(len(before))
    for _ in range(rounds + 1):
        both = np.hstack([before, after])
        mean = np.average(both, axis=0, weights=weight)
        covariance = np.cov(both.T, aweights=weight, ddof=0)
        s11, s12, s22 = covariance[:p, :p], covariance[:p, p:], covariance[p:, p:]
        squares, a = eigh(s12 @ np.linalg.inv(s22) @ s12.T, s11)
        b = np.linalg.inv(s22) @ s12.T @ a
        b /= np.sqrt(np.einsum("qk,qr,rk->k", b, s22, b))
        mad = (before - mean[:p]) @ a - (after - mean[p:]) @ b
        statistic = (mad**2 / (2 * (1 - np.sqrt(squares)))).sum(axis=1)
        weight = chi2.sf(statistic, p)
    return np.asarray(statistic)


def correlated(seed: int, p: int, q: int, pixels: int = 6000) -> tuple[Array, Array]:
    """Two dates that share signals, with noise, and a tenth of the pixels changed."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(pixels, 4))
    before = shared @ rng.normal(size=(4, p)) + rng.normal(size=(pixels, p)) * 0.5 + 3
    after = shared @ rng.normal(size=(4, q)) + rng.normal(size=(pixels, q)) * 0.5 - 1
    after[: pixels // 10] += 4
    return before, after


@pytest.fixture
def eight_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """IR-MAD stops after as many, whatever the numbers are."""
    monkeypatch.setattr(irmad, "ROUNDS", 8)
    monkeypatch.setattr(irmad, "TOLERANCE", 0.0)


@pytest.mark.usefixtures("eight_rounds")
@pytest.mark.parametrize(("p", "q"), [(3, 3), (6, 6), (2, 5), (5, 2)])
def test_irmad_is_nielsens(p: int, q: int) -> None:
    before, after = correlated(p + 10 * q, p, q)
    found = (fit_alteration(before, after).variates(before, after) ** 2).sum(axis=1)
    assert np.allclose(found, plain_irmad(before, after, rounds=8), rtol=1e-2, atol=1e-3)


def test_irmad_goes_on_until_the_correlations_stand_still(monkeypatch: pytest.MonkeyPatch) -> None:
    before, after = correlated(1, 3, 3)
    found = fit_alteration(before, after).correlation
    monkeypatch.setattr(irmad, "ROUNDS", 1)
    once = fit_alteration(before, after).correlation
    monkeypatch.setattr(irmad, "ROUNDS", 200)
    monkeypatch.setattr(irmad, "TOLERANCE", 0.0)
    for_ever = fit_alteration(before, after).correlation
    assert np.abs(found - for_ever).max() < 0.01
    assert np.abs(once - for_ever).max() > 0.02


@pytest.mark.usefixtures("eight_rounds")
def test_irmad_does_not_see_linear_maps_of_the_bands() -> None:
    before, after = correlated(2, 3, 4)
    rng = np.random.default_rng(0)
    maps = [np.linalg.qr(rng.normal(size=(n, n)))[0] * [1, 2, 3, 0.5][:n] for n in (3, 4)]
    other = before @ maps[0] + 7, after @ maps[1] - 2
    plain, mixed = (
        (fit_alteration(*dates).variates(*dates) ** 2).sum(axis=1)
        for dates in ((before, after), other)
    )
    assert np.allclose(plain, mixed, rtol=2e-3, atol=2e-3)


@pytest.mark.usefixtures("eight_rounds")
def test_irmad_scores_what_its_fit_says(tmp_path: Path) -> None:
    before, after = two_dates(9, (3, 2))
    found = scored("irmad", opened(tmp_path, before, after))
    rows = [date.reshape(len(date), -1).T.astype(float) for date in (before, after)]
    size = np.sqrt((fit_alteration(*rows).variates(*rows) ** 2).mean(axis=1))
    valid = np.ones(before.shape[1:], bool)
    assert close(found, smoothed(size.reshape(valid.shape), valid), rtol=5e-3, atol=5e-3)


@pytest.mark.parametrize("flat", [0, 1])
def test_irmad_bears_equal_dates_and_bands_of_one_value(flat: int) -> None:
    before, after = correlated(3, 3, 3)
    (before, after)[flat][:, 1] = 4.0
    assert np.isfinite(fit_alteration(before, after).variates(before, after)).all()
    assert np.abs(fit_alteration(before, before).variates(before, before)).max() < 0.1


# --- ravaen ------------------------------------------------------------------------------------


def test_ravaen_is_the_cosine_distance_of_the_codes_of_each_block(tmp_path: Path) -> None:
    inputs = opened(tmp_path, *two_dates(10, (3, 3)))
    detector = fitted("ravaen", inputs)
    found = mapped(detector, inputs)
    for row in range(0, 128, 32):  # whole blocks only
        for col in range(0, 160, 32):
            block = np.s_[row : row + 32, col : col + 32]
            wanted = block_distance(detector, inputs, block)
            assert found[block] == pytest.approx(wanted, abs=1e-5)
    assert np.unique(found[:128, :160]).size == 20


def test_ravaen_dense_is_bilinear_between_the_centres_of_blocks(tmp_path: Path) -> None:
    inputs = opened(tmp_path, *two_dates(11, (2, 2)))
    detector = fitted("ravaen-dense", inputs)
    corners = range(0, 104, 8)
    values = [
        [block_distance(detector, inputs, np.s_[r : r + 32, c : c + 32]) for c in corners]
        for r in corners
    ]
    centres = np.array(corners) + 15.5
    rows, cols = np.mgrid[16:112, 16:112]
    wanted = RegularGridInterpolator((centres, centres), values)((rows, cols))
    assert np.allclose(mapped(detector, inputs)[16:112, 16:112], wanted, atol=1e-5)


def block_distance(detector: Any, inputs: Inputs, block: tuple[slice, slice]) -> float:
    """Cosine distance by its definition, of one block of the grid."""
    codes = []
    for array, normalise in zip(
        inputs.arrays, (detector.dates.before, detector.dates.after), strict=True
    ):
        pixels = torch.from_numpy(array.values[:, *block].copy())[None]
        with torch.no_grad():
            codes.append(detector.network.encode(normalise(pixels))[0][0].double().numpy())
    return float(1 - codes[0] @ codes[1] / np.linalg.norm(codes[0]) / np.linalg.norm(codes[1]))


def test_ravaen_learns_the_texture_of_the_scene(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks whose pattern changed stand out from blocks with new noise."""
    monkeypatch.setattr(ravaen, "SCHEDULE", replace(ravaen.SCHEDULE, steps=100, batch=8))
    rows, _ = np.mgrid[:192, :192]
    noise = np.random.default_rng(12).normal(size=(2, 192, 192)) * 0.3
    ground = np.sin(rows / 4) + np.cos(rows / 30)
    before, after = (ground + each for each in noise)
    after[64:96, 96:128] = before[64:96, 96:128].T
    found = scored("ravaen", opened(tmp_path, before[None], after[None]))[::32, ::32]
    assert np.argmax(found) == 2 * 6 + 3
    assert np.sort(found.ravel())[-1] > 3 * np.sort(found.ravel())[-2]


# --- all ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_any_tile_size_gives_the_same_scores(tmp_path: Path, name: str) -> None:
    before, after = two_dates(14, (3, 3))
    before[:, 100:, :30] = after[:, 30:50, 100:] = -9999
    inputs = opened(tmp_path, before, after, nodata=-9999)
    detector = fitted(name, inputs)
    whole = mapped(detector, inputs)
    for size in (32, 64, 96):
        assert close(mapped(detector, inputs, size), whole, atol=1e-5), size
    assert (np.isnan(whole) == ((before == -9999) | (after == -9999)).any(axis=0)).all()


@pytest.mark.parametrize("name", NAMES)
def test_saved_and_restored_it_scores_the_same(tmp_path: Path, name: str) -> None:
    inputs = opened(tmp_path, *two_dates(15, (2, 3)))
    detector = fitted(name, inputs)
    state = detector.state()
    config, tensors = json.loads(json.dumps(state.config)), load(save(dict(state.tensors)))
    restored = detector_named(name).family().restore(State(config, tensors))
    assert np.array_equal(mapped(restored, inputs), mapped(detector, inputs))


@pytest.mark.parametrize("name", NAMES)
def test_equal_seeds_give_equal_bits(tmp_path: Path, name: str) -> None:
    inputs = opened(tmp_path, *two_dates(16, (2, 2)))
    assert np.array_equal(scored(name, inputs), scored(name, inputs))


@pytest.mark.parametrize("name", ["cva", "irmad", *BLOCKWISE])
def test_gain_and_offset_of_a_date_do_not_matter(tmp_path: Path, name: str) -> None:
    before, after = two_dates(17, (3, 3))
    gains = np.array([0.5, 1.3, 20.0])[:, None, None]
    plain = scored(name, opened(tmp_path / "plain", before, after))
    moved = scored(name, opened(tmp_path / "moved", before + 1000, after * gains - 300))
    assert np.abs(moved - plain).max() < 0.02 * plain.max()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("invalid", [True, False])
def test_a_pixel_reaches_no_further_than_the_halo(tmp_path: Path, name: str, invalid: bool) -> None:
    inputs = opened(tmp_path, *two_dates(18, (2, 2)))
    detector = fitted(name, inputs)
    (tile,) = inputs.tiles(1024, detector.halo)
    before, after = inputs.read(tile)
    data, valid = after.data.copy(), after.valid.copy()
    row, col = 101, 90
    data[0, :, row, col] *= 3
    valid[0, row, col] = not invalid
    scores = [
        np.nan_to_num(detector.score((before, each))[0], nan=-1)
        for each in (after, TileBatch(data, valid))
    ]
    rows, cols = np.indices(scores[0].shape)
    far = np.maximum(abs(rows - row), abs(cols - col)) > detector.halo
    changed = scores[0] != scores[1]
    assert changed[row, col]
    assert np.abs(scores[0] - scores[1])[far].max() < 1e-6
    if invalid:  # then the number beneath must not matter either
        data[0, :, row, col] = 1e6
        again = np.nan_to_num(detector.score((before, TileBatch(data, valid)))[0], nan=-1)
        assert np.array_equal(again, scores[1])


@pytest.mark.parametrize("name", NAMES)
def test_a_job_finds_the_change(tmp_path: Path, settings: Settings, name: str) -> None:
    before, after, truth = change_pair(tmp_path, size=160)
    spec = JobSpec(
        Process.DETECT_CHANGE, (Scene(str(before)), Scene(str(after))), detector=name, tile_size=64
    )
    run(spec, out=tmp_path / "out", scratch=tmp_path / "scratch", settings=settings, report=silent)
    report = json.loads((tmp_path / "out" / "run.json").read_text())
    assert report["model"]["detector"] == name
    with rasterio.open(tmp_path / "out" / "heatmap.tif") as raster:
        surprise = raster.read(1)
    assert np.isfinite(surprise).all()
    if name in ("cva", "irmad"):
        assert average_precision_score(truth.ravel(), surprise.ravel()) > 0.8
