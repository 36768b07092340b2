"""The default for change: what it chooses, and that it keeps the promises of every detector."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from sklearn.metrics import average_precision_score

from geoanomaly import pretrained
from geoanomaly.calibration import AsScored
from geoanomaly.detectors import change_fit
from geoanomaly.detectors.agreement import agreement
from geoanomaly.detectors.base import FitOptions
from geoanomaly.detectors.features import FeatureView, photograph
from geoanomaly.detectors.fused_change import FUSED_CHANGE, FusedChange
from geoanomaly.detectors.prediction import PredictionView
from geoanomaly.models import Model, load_model, make_model, save_model
from geoanomaly.scenes.sampling import Sample
from geoanomaly.training import Schedule
from geoanomaly.types import Setting, silent
from tests.rasters import texture
from tiling.types import TileBatch

SIDE = 160
HALO = 80
FloatMap = NDArray[np.float32]
RGB = ("red", "green", "blue")


def sample_of(*dates: FloatMap) -> Sample:
    """One window of SIDE px; around it, halo that is not valid."""
    edge = ((0, 0), (HALO, HALO), (HALO, HALO))
    batches = tuple(
        TileBatch.from_nan(np.pad(date, edge, constant_values=np.nan)[None]) for date in dates
    )
    return Sample(batches, np.logical_and(batches[0].valid, batches[1].valid), HALO)


def optical(bands: tuple[str, ...] = RGB) -> Setting:
    return Setting(("rgb", "rgb"), (bands, bands), (False, False))


RADAR = Setting(("sar", "sar"), (("VV",), ("VV",)), (True, True))


def fit(setting: Setting, *dates: FloatMap) -> FusedChange:
    return FUSED_CHANGE.fit(sample_of(*dates), FitOptions(setting, 0, silent))


def score(detector: FusedChange, *dates: FloatMap) -> FloatMap:
    return detector.score(sample_of(*dates).batches)[0][HALO:-HALO, HALO:-HALO]


def later(before: FloatMap, seed: int = 9) -> FloatMap:
    noise = np.random.default_rng(seed).normal(size=before.shape) * 10
    return (before * 1.2 + 150 + noise).astype(np.float32)


@pytest.fixture(scope="module", autouse=True)
def short_training() -> Iterator[None]:
    """What is chosen does not hang on the last digit of the network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(change_fit, "ROUNDS", (Schedule(40, 1024), Schedule(20, 1024, rate=1e-3)))
        yield


def test_agreement_is_one_for_the_same_order_and_chance_for_noise() -> None:
    rng = np.random.default_rng(0)
    one = rng.normal(size=100_000)
    assert agreement(one, np.exp(one)) == 1
    assert agreement(one, rng.normal(size=one.size)) == pytest.approx(0.05, abs=0.01)
    assert agreement(one, -one) == 0
    assert agreement(np.zeros(100), np.zeros(100)) == 0, "what says nothing vouches for nothing"


@pytest.fixture(scope="module")
def pair() -> tuple[FloatMap, FloatMap, NDArray[np.bool_]]:
    before = texture(0, 3, SIDE, SIDE)
    after = later(before)
    truth = np.zeros((SIDE, SIDE), dtype=bool)
    truth[40:64, 80:104] = True
    after[:, truth] += np.array([[60], [-60], [60]], dtype=np.float32)
    return before, after, truth


@pytest.fixture(scope="module")
def fitted(pair: tuple[FloatMap, FloatMap, NDArray[np.bool_]]) -> FusedChange:
    return fit(optical(), *pair[:2])


def test_it_finds_the_change_and_says_what_it_chose(
    pair: tuple[FloatMap, FloatMap, NDArray[np.bool_]], fitted: FusedChange
) -> None:
    before, after, truth = pair
    assert average_precision_score(truth.ravel(), score(fitted, before, after).ravel()) > 0.95
    assert isinstance(fitted.evidence[0].view, PredictionView)
    assert "predict each other" in fitted.choice[0]
    assert "pretrained features agree" in fitted.choice[1]


def test_a_state_restores_the_same_detector(
    pair: tuple[FloatMap, FloatMap, NDArray[np.bool_]], fitted: FusedChange
) -> None:
    again = FUSED_CHANGE.restore(fitted.state())
    assert again.choice == fitted.choice
    np.testing.assert_array_equal(score(again, *pair[:2]), score(fitted, *pair[:2]))


@pytest.mark.parametrize(
    "shifted",
    [lambda date: date + 1000, lambda date: date * 1.3],
    ids=["offset", "gain"],
)
def test_an_offset_or_a_gain_changes_nothing(
    pair: tuple[FloatMap, FloatMap, NDArray[np.bool_]],
    fitted: FusedChange,
    shifted: Callable[[FloatMap], FloatMap],
) -> None:
    before, after, _ = pair
    other = shifted(after).astype(np.float32)
    found = score(fit(optical(), before, other), before, other)
    expected = score(fitted, before, after)
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.999
    assert agreement(found.ravel(), expected.ravel()) > 0.98


def test_a_stripe_without_data_raises_no_anomaly() -> None:
    before = texture(0, 3, SIDE, SIDE)
    after = later(before)
    before[:, 70:74] = np.nan
    found = score(fit(optical(), before, after), before, after)
    assert np.isnan(found[70:74]).all()
    beside = np.concatenate([found[60:70], found[74:84]])
    assert (beside > 2).mean() < 0.03


def test_dates_without_a_relation_are_compared_by_difference() -> None:
    before, after = texture(1, 3, SIDE, SIDE), texture(2, 3, SIDE, SIDE)
    detector = fit(optical(), before, after)
    assert detector.evidence[0].view.state().config["view"] == "difference"
    assert "predict each other badly" in detector.choice[0]


def buildings(seed: int) -> NDArray[np.bool_]:
    """Blocks with dark gaps: a pattern, whose pixels are of ordinary brightness."""
    roofs = np.zeros((SIDE, SIDE), dtype=bool)
    rng = np.random.default_rng(seed)
    for _ in range(60):
        top, left = rng.integers(0, SIDE - 12, 2)
        roofs[top : top + 8, left : left + 8] = True
    return roofs


def _model(detector: FusedChange) -> Model:
    return make_model(
        detector,
        AsScored(1),
        name="kept",
        family="auto",
        sensor="rgb",
        bands=RGB,
        trained_on=(),
        seed=0,
    )


def test_small_pixels_are_seen_as_a_photograph(tmp_path: Path) -> None:
    """A quarter is built over: coarse features agree with the pixels there, and join them."""
    ground = texture(3, 3, SIDE, SIDE) / 8
    streets = np.where(buildings(5), 160.0, 60.0) + ground
    after = streets * 1.1 + 12 + np.random.default_rng(1).normal(size=ground.shape) * 3
    rebuilt = np.zeros((SIDE, SIDE), dtype=bool)
    rebuilt[48:80, 64:104] = True
    after[:, rebuilt] = (np.where(buildings(6), 240.0, 20.0) + ground)[:, rebuilt]
    before, after = streets.astype(np.float32), after.astype(np.float32)
    detector = fit(optical(), before, after)
    assert any(isinstance(each.view, FeatureView) for each in detector.evidence), detector.choice
    found = score(detector, before, after)
    save_model(_model(detector), tmp_path / "kept")
    kept = load_model(tmp_path / "kept").detector
    np.testing.assert_array_equal(score(kept, before, after), found)  # type: ignore[arg-type]
    alone = replace(detector, evidence=detector.evidence[:1])
    truth = rebuilt.ravel()
    fused = average_precision_score(truth, found.ravel())
    assert fused > average_precision_score(truth, score(alone, before, after).ravel())


def test_without_the_pretrained_package_the_pixels_do_it_alone(
    pair: tuple[FloatMap, FloatMap, NDArray[np.bool_]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretrained, "PACKAGE", "no_such_package")
    detector = fit(optical(), *pair[:2])
    assert len(detector.evidence) == 1
    assert "not installed (no_such_package)" in detector.choice[-1]
    assert FUSED_CHANGE.halo(optical()) < HALO


def speckled(ground: FloatMap, seed: int) -> FloatMap:
    looks = np.random.default_rng(seed).gamma(16, 1 / 16, ground.shape)
    return (ground * looks).astype(np.float32)


def test_a_change_of_most_of_a_radar_scene_stays_visible() -> None:
    """A flood over two thirds: normalised, the dry third would be the change."""
    smooth = gaussian_filter(np.random.default_rng(0).normal(size=(1, SIDE, SIDE)), (0, 8, 8))
    dry = (0.1 * np.exp(4 * smooth)).astype(np.float32)
    wet = np.zeros((SIDE, SIDE), dtype=bool)
    wet[:, : 2 * SIDE // 3] = True
    flooded = np.where(wet, np.float32(0.008), dry)
    detector = fit(RADAR, speckled(dry, 1), speckled(flooded, 2))
    found = score(detector, speckled(dry, 1), speckled(flooded, 2))
    assert average_precision_score(wet.ravel(), found.ravel()) > 0.9, detector.choice
    decibel = [(10 * np.log10(date)).astype(np.float32) for date in (dry, flooded)]
    detector = fit(RADAR, speckled(dry, 1), decibel[1])
    assert "only one date is in decibel" in detector.choice[0]


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (RGB, (0, 1, 2)),
        (("blue", "green", "red", "nir"), (2, 1, 0)),
        (("VV",), (0, 0, 0)),
        (("a", "b"), (0, 0, 0)),
        (("B02", "B03", "B04", "B08"), (2, 1, 0)),
    ],
)
def test_a_photograph_of_any_bands(names: tuple[str, ...], shown: tuple[int, ...]) -> None:
    assert photograph(names) == shown
