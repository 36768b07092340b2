"""The no-change relation: least squares where nothing changed, unmoved where something did."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from geoanomaly.backbone import (
    Relation,
    consistency,
    energy,
    fit_backbone,
    fit_relation,
    no_change_weight,
    shared_weight,
    whitener,
)

Matrix = NDArray[np.float64]


def mixing(rng: np.random.Generator, bands: int) -> Matrix:
    """Correlated bands, of which none nearly follows from the others."""
    rotation, _ = np.linalg.qr(rng.normal(size=(bands, bands)))
    return np.asarray(rotation * np.linspace(0.5, 2, bands)[:, None])


def related(seed: int, pixels: int, a: int, b: int) -> tuple[Matrix, Matrix, Matrix, Matrix]:
    """Source, target, and the slope and intercept between them; noise of 0.1 to 0.3."""
    rng = np.random.default_rng(seed)
    source = rng.normal(size=(pixels, a)) @ mixing(rng, a) + rng.normal(size=a) * 5
    slope, intercept = rng.normal(size=(a, b)), rng.normal(size=b) * 3
    noise = rng.normal(size=(pixels, b)) * np.linspace(0.1, 0.3, b)
    return source, source @ slope + intercept + noise, slope, intercept


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32), a=st.integers(1, 5), b=st.integers(1, 5))
def test_unit_weights_give_least_squares(seed: int, a: int, b: int) -> None:
    source, target, _, _ = related(seed, 400, a, b)
    found = fit_relation(source, target, np.ones(400))
    design = np.column_stack([source, np.ones(400)])
    wanted = design @ np.linalg.lstsq(design, target, rcond=None)[0]
    assert np.abs(source @ found.slope + found.intercept - wanted).max() < 1e-3


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32))
def test_a_whole_weight_is_a_repetition(seed: int) -> None:
    source, target, _, _ = related(seed, 200, 2, 3)
    times = np.random.default_rng(seed).integers(0, 4, 200)
    weighted = fit_relation(source, target, times.astype(float))
    copied = fit_relation(
        np.repeat(source, times, axis=0), np.repeat(target, times, axis=0), np.ones(times.sum())
    )
    for part in ("slope", "intercept", "whiten"):
        assert np.allclose(getattr(weighted, part), getattr(copied, part), rtol=1e-6, atol=1e-8)


@given(seed=st.integers(0, 2**32), bands=st.integers(1, 6))
def test_whitening_gives_unit_covariance(seed: int, bands: int) -> None:
    rng = np.random.default_rng(seed)
    residual = rng.normal(size=(500, bands)) @ mixing(rng, bands)
    residual -= residual.mean(axis=0)
    weight = rng.random(500) + 0.1
    white = residual @ whitener(residual, weight)
    covariance = (white * weight[:, None]).T @ white / weight.sum()
    assert np.allclose(covariance, np.eye(bands), atol=1e-4)


def test_energy_is_the_mahalanobis_distance() -> None:
    source, target, _, _ = related(1, 2000, 3, 4)
    relation = fit_relation(source, target, np.ones(2000))
    residual = target - source @ relation.slope - relation.intercept
    inverse = np.linalg.inv(np.cov(residual.T, bias=True))
    wanted = np.einsum("pi,ij,pj->p", residual, inverse, residual)
    assert np.allclose(energy(relation.residual(source, target)), wanted, rtol=1e-3)


@pytest.mark.parametrize("flat", ["source", "target"])
def test_a_band_of_one_value_does_no_harm(flat: str) -> None:
    source, target, _, _ = related(2, 300, 3, 2)
    (source if flat == "source" else target)[:, 1] = 4.0
    relation = fit_relation(source, target, np.ones(300))
    assert np.isfinite(energy(relation.residual(source, target))).all()


@pytest.mark.parametrize("bands", [1, 2, 3, 6])
def test_without_change_half_the_belief_is_kept(bands: int) -> None:
    """Survivals of unchanged pixels are uniform; without the correction trust would wither."""
    before, after, slope, _ = related(bands, 8000, bands, bands)
    fitted = fit_backbone(before, after)
    assert fitted.weight.mean() == pytest.approx(0.5, abs=0.06)
    assert np.allclose(fitted.forward.slope, slope, atol=0.1)


@pytest.mark.parametrize("bands", [1, 2, 3, 6])
def test_consistency_is_what_weighting_does_to_the_variance(bands: int) -> None:
    energies = np.random.default_rng(0).chisquare(bands, 400_000)
    weight = no_change_weight(energies / consistency(bands), bands)
    share = (weight * energies).sum() / weight.sum() / bands
    assert share == pytest.approx(consistency(bands), rel=0.01)


@pytest.mark.parametrize(("a", "b"), [(1, 1), (3, 3), (6, 6), (2, 5)])
def test_gross_change_does_not_bend_the_relation(a: int, b: int) -> None:
    before, after, _, _ = related(10 * a + b, 10_000, a, b)
    clean = fit_backbone(before, after).forward
    changed = np.arange(10_000) < 1500
    moved = after.copy()
    moved[changed] += 25 + np.abs(before[changed] @ np.ones((a, b)))
    robust, plain = fit_backbone(before, moved), fit_relation(before, moved, np.ones(10_000))

    def error(relation: Relation) -> float:
        shift = before @ (relation.slope - clean.slope) + relation.intercept - clean.intercept
        return float(np.abs(shift).max())

    assert error(robust.forward) < 0.1
    assert error(plain) > 1
    assert robust.weight[changed].max() < 1e-3
    assert robust.weight[~changed].mean() > 0.4


def test_both_directions_share_their_belief() -> None:
    weight = shared_weight([np.array([0.0, 0, 1e4]), np.array([0.0, 1e4, 0])], (3, 2))
    assert weight[0] == 1
    assert weight[1:].max() < 1e-6
    assert (weight > 0).all()
    one = no_change_weight(np.array([2.0]), 3)
    other = no_change_weight(np.array([1.0]), 2)
    found = shared_weight([np.array([2.0]), np.array([1.0])], (3, 2))
    assert found == pytest.approx(np.sqrt(one * other))


@given(st.lists(st.floats(0, 1e6), min_size=2, max_size=20), st.integers(1, 200))
def test_more_energy_is_less_belief(energies: list[float], bands: int) -> None:
    weight = no_change_weight(np.sort(np.array(energies)), bands)
    assert ((weight >= 0) & (weight <= 1)).all()
    assert (np.diff(weight) <= 0).all()
