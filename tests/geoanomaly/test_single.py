"""The single-scene detectors: against their definitions, and what may not matter to them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import load, save
from scipy.spatial.distance import cdist
from scipy.stats import norm, spearmanr
from sklearn.metrics import roc_auc_score

from geoanomaly.calibration import calibrate, sample_scores
from geoanomaly.detectors import bank, detector_named, local_rx, pca, pixels, robust
from geoanomaly.detectors.base import Detector, DetectorFamily, FitOptions, State
from geoanomaly.detectors.fused import FUSED, WEIGHTS, FusedDetector, fit_scale
from geoanomaly.detectors.rows import image, rows
from geoanomaly.scenes import sampling
from geoanomaly.scenes.inputs import Inputs, open_inputs
from geoanomaly.scenes.rings import Ring, ring_mean
from geoanomaly.types import JobSpec, Process, Progress, Report, Scene, silent
from tests.rasters import texture, write_raster

pytestmark = pytest.mark.usefixtures("little_training")

Array = NDArray[Any]
NAMES = ("rx", "local-rx", "pca", "ae", "vae", "bank", "surroundings", "fused")
NODATA = -9999.0
FEW, MANY = 4, 40
SIZE = 112
HOLE = np.s_[:, 40:60, 70:76]


def family(name: str) -> DetectorFamily:
    return FUSED if name == "fused" else detector_named(name).family()


def opened(folder: Path, data: Array, *, nodata: float | None = None) -> Inputs:
    folder.mkdir(parents=True, exist_ok=True)
    path = write_raster(folder / "scene.tif", data.astype("float32"), nodata=nodata)
    return open_inputs(JobSpec(Process.DETECT_ANOMALY, (Scene(str(path), sensor="generic"),)))


def drawn(name: str, inputs: Inputs) -> sampling.Sample:
    return sampling.draw(inputs, halo=family(name).halo(inputs.setting), seed=0, report=silent)


def fitted(name: str, inputs: Inputs, seed: int = 0, report: Report = silent) -> Detector:
    return family(name).fit(drawn(name, inputs), FitOptions(inputs.setting, seed, report))


def mapped(detector: Detector, inputs: Inputs, size: int = 1024) -> Array:
    """Scores of the whole grid, tile by tile."""
    out = np.full(inputs.geobox.shape, np.nan, np.float32)
    for tile in inputs.tiles(size, detector.halo):
        out[tile.core] = detector.score(inputs.read(tile))[0][tile.inner]
    return out


def unusual(bands: int, seed: int = 3) -> tuple[Array, Array]:
    """Ground with four small objects of a spectrum that it has nowhere, and where they are."""
    ground = texture(seed, bands, SIZE, SIZE)
    truth = np.zeros((SIZE, SIZE), dtype=bool)
    for row, col in ((20, 30), (50, 90), (80, 40), (95, 99)):
        truth[row : row + 4, col : col + 4] = True
    ground[:, truth] += 120 * np.where(np.arange(bands) % 2, -1, 1)[:, None]
    return ground, truth


@pytest.fixture(scope="module", params=(FEW, MANY), ids=("few bands", "many bands"))
def bands(request: pytest.FixtureRequest) -> int:
    return int(request.param)


# --- what all have in common --------------------------------------------------------------------


# The textbook's autoencoder is not among them: it rebuilds what it has never seen well enough.
@pytest.mark.parametrize("name", [name for name in NAMES if name != "ae"])
def test_small_objects_of_another_spectrum_are_found(name: str, bands: int, tmp_path: Path) -> None:
    ground, truth = unusual(bands)
    inputs = opened(tmp_path, ground)
    scores = mapped(fitted(name, inputs), inputs)
    assert roc_auc_score(truth.ravel(), scores.ravel()) > 0.95


@pytest.mark.parametrize("name", NAMES)
def test_scores_depend_on_neither_tiles_nor_what_is_missing(
    name: str, bands: int, tmp_path: Path
) -> None:
    whole, _ = unusual(bands)
    inputs = opened(tmp_path / "whole", whole)
    detector = fitted(name, inputs)
    assert detector.halo <= family(name).halo(inputs.setting)
    scores = mapped(detector, inputs)
    assert np.isfinite(scores).all()
    np.testing.assert_allclose(mapped(detector, inputs, 32), scores, rtol=1e-4, atol=1e-4)

    holed = whole.copy()
    holed[HOLE] = NODATA
    around = mapped(detector, opened(tmp_path / "holed", holed, nodata=NODATA))
    missing = np.zeros(scores.shape, dtype=bool)
    missing[HOLE[1:]] = True
    assert np.array_equal(np.isnan(around), missing)
    reach = detector.halo
    far = np.ones(scores.shape, dtype=bool)
    far[max(40 - reach, 0) : 60 + reach, max(70 - reach, 0) : 76 + reach] = False
    assert not far.all()
    np.testing.assert_allclose(around[far], scores[far], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_no_anomaly_lies_along_missing_ground(name: str, bands: int, tmp_path: Path) -> None:
    ground = texture(4, bands, SIZE, SIZE)
    beside = np.s_[[48, 49, 56, 57]]

    def strange_beside(folder: str) -> float:
        inputs = opened(tmp_path / folder, ground, nodata=NODATA)
        scores = mapped(fitted(name, inputs), inputs)
        return float((scores[beside] > np.nanquantile(scores, 0.99)).mean())

    whole = strange_beside("whole")
    ground[:, 50:56] = NODATA
    assert strange_beside("striped") < whole + 0.1


@pytest.mark.parametrize("name", NAMES)
def test_a_model_comes_back_from_its_state_with_the_same_bits(
    name: str, bands: int, tmp_path: Path
) -> None:
    inputs = opened(tmp_path, unusual(bands)[0])
    detector = fitted(name, inputs)
    state = detector.state()
    stored = State(json.loads(json.dumps(state.config)), load(save(dict(state.tensors))))
    restored = family(name).restore(stored)
    assert restored.halo == detector.halo
    assert mapped(restored, inputs).tobytes() == mapped(detector, inputs).tobytes()
    again = fitted(name, inputs)
    assert mapped(again, inputs).tobytes() == mapped(detector, inputs).tobytes()


@pytest.mark.parametrize("name", NAMES)
def test_offset_and_gain_of_the_numbers_do_not_matter(
    name: str, bands: int, tmp_path: Path
) -> None:
    ground = np.round(unusual(bands)[0])
    maps = []
    for number, data in enumerate((ground, ground + 1000, ground * 1.3)):
        inputs = opened(tmp_path / str(number), data)
        maps.append(mapped(fitted(name, inputs), inputs).ravel())
    for other in maps[1:]:
        assert spearmanr(maps[0], other).statistic > 0.99


@pytest.mark.parametrize("name", NAMES)
def test_a_scene_of_one_colour_is_ordinary_everywhere(
    name: str, bands: int, tmp_path: Path
) -> None:
    ground = np.broadcast_to(np.linspace(0.1, 0.7, bands)[:, None, None], (bands, SIZE, SIZE))
    inputs = opened(tmp_path, ground)
    detector = fitted(name, inputs)
    scores = mapped(detector, inputs, 64)
    np.testing.assert_allclose(scores, mapped(detector, inputs), atol=1e-4)
    calibration = calibrate(sample_scores(detector, drawn(name, inputs)))
    assert calibration.surprise(scores).max() < 1


@pytest.mark.parametrize("name", ["ae", "vae", "surroundings", "fused"])
def test_progress_is_told_and_never_falls(name: str, tmp_path: Path) -> None:
    told: list[Progress] = []
    fitted(name, opened(tmp_path, unusual(MANY)[0]), report=told.append)
    percents = [progress.percent for progress in told]
    assert len(told) > 2
    assert percents == sorted(percents)
    assert percents[0] > FitOptions.start
    assert percents[-1] == FitOptions.end


# --- robustness ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["rx", "pca", "vae", "bank", "fused"])
def test_anomalies_in_what_is_learnt_from_do_not_hide(
    name: str, bands: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One in fifty pixels is of the other spectrum: trimming finds more than none."""
    ground, truth = texture(6, bands, SIZE, SIZE), np.zeros((SIZE, SIZE), dtype=bool)
    truth[60:76, 60:76] = True
    ground[:, truth] += 90 * np.where(np.arange(bands) % 2, -1, 1)[:, None]
    inputs = opened(tmp_path, ground)
    trimmed = mapped(fitted(name, inputs), inputs)
    monkeypatch.setattr(robust, "TRIMMED", 0.0)
    learnt = mapped(fitted(name, inputs), inputs)

    def contrast(scores: Array) -> float:
        usual = scores[~truth]
        return float((np.median(scores[truth]) - np.median(usual)) / usual.std())

    assert contrast(trimmed) > 1.05 * contrast(learnt)


def test_trimming_takes_the_strangest_of_those_that_are_left() -> None:
    strange = np.arange(100.0)
    kept = robust.trim(strange, strange < 50)
    assert np.array_equal(kept, strange < 49)
    assert robust.trim(np.ones(100), kept).sum() == kept.sum()


# --- what a pixel is ----------------------------------------------------------------------------


def test_the_space_has_unit_variance_and_no_correlation(tmp_path: Path) -> None:
    inputs = opened(tmp_path, unusual(MANY)[0])
    space, found = pixels.fit_space(
        drawn("rx", inputs), inputs.setting, 0, components=8, contextual=False
    )
    assert found.shape == (SIZE**2, 8)
    np.testing.assert_allclose(np.cov(found.T), np.eye(8), atol=2e-3)
    assert space.basis.shape == (MANY, 8)


def test_directions_without_variance_are_left_out(tmp_path: Path) -> None:
    one = texture(7, 1, SIZE, SIZE)
    inputs = opened(tmp_path, np.concatenate([one * (band + 1) for band in range(MANY)]))
    _, found = pixels.fit_space(
        drawn("rx", inputs), inputs.setting, 0, components=8, contextual=False
    )
    assert found.shape == (SIZE**2, 1)


def test_the_same_seed_picks_the_same_pixels_however_they_are_described(tmp_path: Path) -> None:
    sample = drawn("rx", opened(tmp_path, unusual(MANY)[0]))

    def first(count: int) -> pixels.Describe:
        return lambda batch: (
            rows(torch.from_numpy(batch.data[:, :count])),
            torch.from_numpy(batch.valid),
        )

    wide, narrow = (pixels.gather(sample, first(count), 5) for count in (MANY, 2))
    assert torch.equal(wide[:, :2], narrow)


# --- rings and local RX -------------------------------------------------------------------------


@settings(max_examples=15)
@given(
    seed=st.integers(0, 999),
    height=st.integers(3, 12),
    width=st.integers(3, 12),
    inner=st.integers(0, 2),
    more=st.integers(1, 3),
    share=st.floats(0, 1),
)
def test_a_ring_is_what_a_loop_over_its_pixels_says(
    seed: int, height: int, width: int, inner: int, more: int, share: float
) -> None:
    rng = np.random.default_rng(seed)
    data = rng.normal(size=(1, 2, height, width)).astype(np.float32)
    valid = rng.random((1, height, width)) < share
    mean = ring_mean(torch.from_numpy(data), torch.from_numpy(valid), Ring(inner, inner + more))
    for row in range(height):
        for col in range(width):
            around = _ring_pixels(data[0], valid[0], row, col, Ring(inner, inner + more))
            wanted = around.mean(axis=0) if len(around) else np.zeros(2)
            np.testing.assert_allclose(mean[0, :, row, col], wanted, atol=1e-5)


def _ring_pixels(data: Array, valid: Array, row: int, col: int, ring: Ring) -> Array:
    """The valid pixels of one ring, (pixels, c)."""
    down, across = np.indices(valid.shape)
    apart = np.maximum(abs(down - row), abs(across - col))
    return data[:, valid & (apart <= ring.outer) & (apart > ring.inner)].T


def test_local_rx_is_the_mahalanobis_distance_in_the_ring(tmp_path: Path) -> None:
    ground, _ = unusual(FEW)
    ground[:, 30:34] = NODATA
    inputs = opened(tmp_path, ground, nodata=NODATA)
    detector = fitted("local-rx", inputs)
    scores = mapped(detector, inputs)
    tile = inputs.tiles(SIZE, 0).tile(0, 0)
    described, valid = detector.space(inputs.read(tile)[0])
    shown = image(described, valid)[0].double().numpy()
    for row, col in ((0, 0), (28, 60), (50, 91), (100, 111)):
        around = _ring_pixels(shown, valid[0].numpy(), row, col, local_rx.RING)
        covariance = np.cov(around.T, bias=True) + local_rx.SHRINKAGE * np.eye(FEW)
        apart = shown[:, row, col] - around.mean(axis=0)
        wanted = np.sqrt(apart @ np.linalg.solve(covariance, apart) / FEW)
        assert scores[row, col] == pytest.approx(wanted, rel=1e-3)


# --- RX and PCA ---------------------------------------------------------------------------------


def test_rx_is_the_mahalanobis_distance_of_normal_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(robust, "TRIMMED", 0.0)
    ground, _ = unusual(FEW)
    inputs = opened(tmp_path, ground)
    spectra = ground.reshape(FEW, -1).T.astype(np.float64)
    wanted = cdist(spectra, [spectra.mean(axis=0)], "mahalanobis")[:, 0] / np.sqrt(FEW)
    scores = mapped(fitted("rx", inputs), inputs).ravel()
    np.testing.assert_allclose(scores, wanted, rtol=2e-3)


def test_pca_sees_what_leaves_the_plane_of_normal_spectra_only(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    mix, cover = rng.normal(size=(MANY, 5)), rng.normal(size=(5, SIZE, SIZE))
    ground = np.tensordot(mix, cover, 1) + 0.05 * rng.normal(size=(MANY, SIZE, SIZE))
    ground[:, 10, 10] = mix @ np.full(5, 8.0)  # extreme, but a mixture like all others
    ground[:, 20, 20] += rng.normal(size=MANY)
    inputs = opened(tmp_path, ground)
    scores = mapped(fitted("pca", inputs), inputs)
    assert scores[10, 10] < np.quantile(scores, 0.99)
    assert scores[20, 20] == scores.max()
    assert np.median(scores) == pytest.approx(1, abs=0.1)
    assert pca.COMPONENTS > 5


# --- the bank -----------------------------------------------------------------------------------


def test_the_coreset_is_the_greedy_one() -> None:
    points = np.random.default_rng(0).normal(size=(700, 3)).astype(np.float32)
    chosen, owner, apart = bank._coreset(torch.from_numpy(points))
    assert len(chosen) == bank.MEMBERS
    nearest = np.full(len(points), np.inf)
    for step, member in enumerate(chosen.tolist()):
        assert member == (nearest.argmax() if step else 0)
        nearest = np.minimum(nearest, ((points - points[member]) ** 2).sum(axis=1))
    np.testing.assert_allclose(apart, nearest, atol=1e-5)
    own = ((points - points[chosen[owner]]) ** 2).sum(axis=1)
    np.testing.assert_allclose(own, nearest, atol=1e-5)


def test_few_different_pixels_make_a_small_bank() -> None:
    points = torch.eye(3).repeat(50, 1)
    chosen, _, apart = bank._coreset(points)
    assert len(chosen) == 3
    assert float(apart.max()) == 0


def test_the_distance_is_soft_over_members_by_what_they_stand_for() -> None:
    rng = np.random.default_rng(2)
    members, seen = rng.normal(size=(20, 4)), rng.normal(size=(3000, 4)) * 2
    share = rng.dirichlet(np.ones(20))
    memory = bank.Bank(
        torch.zeros(4),
        torch.eye(4),
        *(torch.from_numpy(each).float() for each in (members, np.log(share))),
        0.7,
    )
    kernel = np.exp(-(cdist(seen, members) ** 2) / (2 * 0.7**2)) @ share
    wanted = 0.7 * np.sqrt(-2 * np.log(kernel))
    found = memory.distance(torch.from_numpy(seen).float())
    np.testing.assert_allclose(found, wanted, rtol=1e-3)


# --- the fusion ---------------------------------------------------------------------------------


def test_a_scale_gives_ranks_their_normal_deviates() -> None:
    rng = np.random.default_rng(3)
    scores = (rng.gamma(2.0, size=100_000) ** 2 + 0.01).astype(np.float32)
    scale = fit_scale(scores)
    deviates = np.log(scale(scores).astype(np.float64))
    for z in (-1.0, 0.0, 1.0, 2.0):
        assert np.quantile(deviates, norm.cdf(z)) == pytest.approx(z, abs=0.05)
    beyond = np.log(scale(np.array([1, 2, 4, 1e30], np.float32) * scores.max()))
    assert (np.diff(beyond) > 0).all()
    assert np.isfinite(beyond).all()
    assert np.isnan(scale(np.array([np.nan], np.float32))).all()


def test_the_fusion_is_the_mean_of_its_scaled_parts(bands: int, tmp_path: Path) -> None:
    inputs = opened(tmp_path, unusual(bands)[0])
    detector = fitted("fused", inputs)
    assert isinstance(detector, FusedDetector)
    # With few bands the description holds the surroundings already.
    assert ("surroundings" in detector.scales) == (bands == MANY)
    tile = inputs.tiles(1024, detector.halo).tile(0, 0)
    batches = inputs.read(tile)
    with torch.inference_mode():
        parts = detector.parts.score(batches[0])
    scaled = [detector.scales[name](scores) for name, scores in parts.items()]
    wanted = np.average(scaled, axis=0, weights=[WEIGHTS[name] for name in parts])
    np.testing.assert_allclose(detector.score(batches), wanted, rtol=1e-5)


def test_the_networks_are_small(tmp_path: Path) -> None:
    """At most 40 kFLOP a pixel, two a weight of every matrix that a pixel meets."""
    inputs = opened(tmp_path, texture(8, 224, 64, 64))
    detector = fitted("fused", inputs)
    tensors = detector.state().tensors
    weights = sum(
        array.size
        for name, array in tensors.items()
        if array.ndim == 2 and not name.startswith("bank.")
    )
    assert 2 * weights <= 40_000
