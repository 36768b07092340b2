"""Surprise means what it says: the share of normal pixels that score as high."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from geoanomaly.calibration import CEILING, LogNormal, calibrate, restore, sample_scores
from geoanomaly.scenes.sampling import Sample
from tiling.types import TileBatch


def log_normal(pixels: int, seed: int = 0) -> np.ndarray:
    logs = np.random.default_rng(seed).normal(3, 0.7, pixels)
    return np.exp(logs).astype(np.float32)


@pytest.mark.parametrize("rate", [0.1, 0.01, 0.001])
def test_normal_pixels_alarm_at_the_nominal_rate(rate: float) -> None:
    scores = log_normal(200_000)
    alarms = calibrate(scores).surprise(scores) >= -np.log10(rate)
    assert alarms.mean() == pytest.approx(rate, rel=0.15)


@pytest.mark.parametrize("rate", [0.1, 0.01])
def test_a_tenth_of_anomalies_shifts_the_rate_little_and_to_the_safe_side(rate: float) -> None:
    normal = log_normal(180_000)
    anomalous = log_normal(20_000, seed=1) * 1000
    calibration = calibrate(np.concatenate([normal, anomalous]))
    realised = (calibration.surprise(normal) >= -np.log10(rate)).mean()
    assert 0.35 * rate < realised <= rate
    assert (calibration.surprise(anomalous) >= -np.log10(rate)).mean() > 0.99


@given(
    st.lists(st.floats(np.float32(1e-6), np.float32(1e6), width=32), min_size=2, max_size=30),
    st.floats(-5, 5),
    st.floats(0.1, 3),
)
def test_surprise_keeps_the_order(scores: list[float], median: float, sigma: float) -> None:
    ordered = np.sort(np.array(scores, dtype=np.float32))
    surprise = LogNormal(median, sigma, 1).surprise(ordered)
    assert (np.diff(surprise) >= 0).all()
    assert ((surprise >= 0) & (surprise <= CEILING)).all()


def test_surprise_is_the_normal_tail() -> None:
    calibration = LogNormal(median=1.0, sigma=0.5, pixels=10)
    deviates = np.array([-2, 0, 1, 2.326, 6, 8])
    found = calibration.surprise(np.exp(1 + 0.5 * deviates).astype(np.float32))
    assert np.allclose(found, -norm.logsf(deviates) / np.log(10), rtol=1e-4)
    assert found[1] == pytest.approx(np.log10(2), rel=1e-5)
    assert found[3] == pytest.approx(2, abs=1e-3)


def test_knots_of_the_tail_are_close_enough() -> None:
    """Between them too, far below what a heatmap keeps; and the last is beyond the ceiling."""
    deviates = np.random.default_rng(0).uniform(-9, 21, 100_000)
    found = LogNormal(0.0, 1.0, 10).surprise(np.exp(deviates).astype(np.float32))
    exact = -norm.logsf(np.log(np.exp(deviates).astype(np.float32))) / np.log(10)
    near = deviates < 6
    assert np.abs(found - exact)[near].max() < 5e-6
    assert np.allclose(found, exact, rtol=2e-6, atol=5e-6)
    assert -norm.logsf(21.9) / np.log(10) > CEILING


def test_ends_of_the_scale() -> None:
    calibration = LogNormal(median=0.0, sigma=0.1, pixels=10)
    nan, zero, huge = calibration.surprise(np.array([np.nan, 0, 1e30], dtype=np.float32))
    assert np.isnan(nan)
    assert zero == pytest.approx(0, abs=1e-6)
    assert huge == CEILING
    assert calibration.surprise(np.zeros((2, 3, 4), np.float32)).shape == (2, 3, 4)
    assert calibration.surprise(np.zeros(1, np.float32)).dtype == np.float32


def test_the_scale_of_the_scores_does_not_matter() -> None:
    scores = log_normal(10_000)
    assert np.allclose(
        calibrate(scores).surprise(scores),
        calibrate(scores * 1000).surprise(scores * 1000),
        atol=1e-3,
    )


def test_a_scene_of_one_colour_is_ordinary() -> None:
    scores = np.full(1000, 0.25, dtype=np.float32)
    assert np.allclose(calibrate(scores).surprise(scores), np.log10(2))
    assert np.isfinite(calibrate(np.zeros(10, np.float32)).surprise(np.zeros(3, np.float32))).all()


def test_what_is_not_finite_is_not_counted() -> None:
    scores = log_normal(1000)
    gaps = np.concatenate([scores, np.full(500, np.nan, np.float32), [np.float32(np.inf)]])
    assert calibrate(gaps) == calibrate(scores)
    assert calibrate(gaps).pixels == 1000


def test_a_calibration_survives_its_description() -> None:
    calibration = calibrate(log_normal(100))
    assert restore(calibration.config()) == calibration


class SumOfBands:
    """A detector whose score says which pixel it came from."""

    def score(self, window: tuple[TileBatch, ...]) -> np.ndarray:
        assert len(window[0].data) == 1
        return sum(batch.data.sum(axis=1) for batch in window)


def test_sampled_scores_are_those_of_the_core() -> None:
    data = np.arange(3 * 2 * 5 * 5, dtype=np.float32).reshape(3, 2, 5, 5)
    core = np.zeros((3, 5, 5), dtype=bool)
    core[0, 1, 2] = core[2, 3, 3] = core[2, 4, 0] = True
    batch = TileBatch(data, np.ones((3, 5, 5), bool))
    found = sample_scores(SumOfBands(), Sample((batch, batch), core, 1))
    assert np.array_equal(found, 2 * data.sum(axis=1)[core])
