"""By how much the before scene lies off the after scene, and whether moving it is right.

Where structure agrees best is an estimate only: shadows, tilted buildings and
speckle move it. It is believed where most windows agree on it and where the linear
no-change relation, held out, leaves clearly less unexplained with it than without,
than with the opposite shift, and than with the smoothing of its interpolation alone.

Windows and displacements are as in `geoanomaly.pairs.structure`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import shift as interpolate

from geoanomaly.backbone import Matrix, Relation, fit_backbone
from geoanomaly.pairs.structure import Agreement, Array, Overlay, Shift, Valid, components

MIN_SHIFT = 0.5
"""Pixels. Below, interpolation costs as much as it mends."""

MIN_CONSENSUS = 0.5
AGREES = 1.0
"""Pixels that a window's own shift may lie from that of all."""

MIN_SIGNAL = 2.0
"""How far above chance the agreement at the shift must be."""

MIN_FALL = 0.03
"""Share by which the held-out residual must fall below that of every control."""

MAX_PIXELS = 20_000
MAX_COMPONENTS = 8
BLOCK = 32
TYPICAL = 0.75
"""Share of the pixels, least residual first, that the residual is taken of: the rest may have
changed."""


@dataclass(frozen=True)
class Misregistration:
    """What was measured; `rows` down and `columns` right would bring before onto after.

    consensus: share of windows that agree; clear: whether it stands out from chance.
    residual: held-out unexplained share, by variant ("unmoved", "moved", "opposite",
        "smoothed"); empty where it was not asked.
    """

    rows: float
    columns: float
    consensus: float
    windows: int
    clear: bool
    residual: Mapping[str, float]

    @property
    def shift(self) -> Shift:
        return self.rows, self.columns

    @property
    def pixels(self) -> float:
        return float(np.hypot(self.rows, self.columns))

    @property
    def confirmed(self) -> bool:
        if not self.residual:
            return False
        controls = min(value for name, value in self.residual.items() if name != "moved")
        return self.residual["moved"] < (1 - MIN_FALL) * controls

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict; `from_json` restores an equal value."""
        return {**vars(self), "pixels": round(self.pixels, 3), "applied": self.confirmed}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Misregistration:
        return cls(**{each.name: data[each.name] for each in fields(cls)})


def register(
    overlay: Overlay, agreement: Agreement, windows: tuple[Array, Array], valid: Valid, seed: int
) -> Misregistration:
    """Estimate the shift of two dates, and test it where it is large and clear enough to matter.

    windows: z-scored; valid: of both dates.
    """
    (rows, columns), each = overlay.located(agreement)
    apart = np.hypot(*(each - (rows, columns)).T)
    consensus = float((apart <= AGREES).mean())
    clear = agreement.here((rows, columns)) >= MIN_SIGNAL * agreement.chance((rows, columns))
    asked = clear and consensus >= MIN_CONSENSUS and np.hypot(rows, columns) >= MIN_SHIFT
    residual = _residuals(windows, valid, (rows, columns), seed) if asked else {}
    return Misregistration(
        round(rows, 3), round(columns, 3), round(consensus, 3), len(apart), bool(clear), residual
    )


def _residuals(
    windows: tuple[Array, Array], valid: Valid, shift: Shift, seed: int
) -> dict[str, float]:
    """Unexplained shares of the variants on the same pixels; empty where too few are left."""
    before, after = (components(data, valid, MAX_COMPONENTS) for data in windows)
    holed = np.where(valid[:, None], before, np.nan)
    down, right = (part - round(part) for part in shift)
    variants = {
        "unmoved": holed,
        "moved": move(holed, shift),
        "opposite": move(holed, (-shift[0], -shift[1])),
        # Half each way: as smooth as the moved one or smoother, and where it was.
        "smoothed": (move(holed, (down, right)) + move(holed, (-down, -right))) / 2,
    }
    common = valid & np.logical_and.reduce(
        [np.isfinite(data).all(axis=1) for data in variants.values()]
    )
    fitted, held_out = _halves(common, seed)
    if min(len(fitted), len(held_out)) < 100 * MAX_COMPONENTS:
        return {}
    target = _pixels(after)
    return {
        name: round(_unexplained(_pixels(data), target, fitted, held_out), 4)
        for name, data in variants.items()
    }


def move(data: Array, shift: Shift) -> Array:
    """Windows (n, band, y, x) moved down and right, bilinearly; NaN where nothing came from."""
    return np.asarray(interpolate(data, (0, 0, *shift), order=1, cval=np.nan))


def _halves(common: Valid, seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Pixels to fit on and to judge by: the two colours of a checkerboard of blocks."""
    rows, cols = (np.arange(side) // BLOCK for side in common.shape[1:])
    light = np.broadcast_to(np.add.outer(rows, cols) % 2 == 0, common.shape)
    generator = np.random.default_rng(seed)
    halves = (np.flatnonzero(common & colour) for colour in (light, ~light))
    fitted, held_out = (generator.permutation(half)[:MAX_PIXELS] for half in halves)
    return fitted, held_out


def _pixels(data: Array) -> Matrix:
    return data.transpose(0, 2, 3, 1).reshape(-1, data.shape[1]).astype(np.float64)


def _unexplained(
    before: Matrix, after: Matrix, fitted: NDArray[np.intp], held_out: NDArray[np.intp]
) -> float:
    """Residual of the no-change relation as a share of what there is, both directions together."""
    backbone = fit_backbone(before[fitted], after[fitted])
    source, target = before[held_out], after[held_out]
    forward = _left(backbone.forward, source, target)
    return float(np.sqrt(forward * _left(backbone.backward, target, source)))


def _left(relation: Relation, source: Matrix, target: Matrix) -> float:
    residual = target - source @ relation.slope - relation.intercept
    return _typical(residual) / max(_typical(target - np.median(target, axis=0)), 1e-12)


def _typical(values: Matrix) -> float:
    """Mean square of the pixels that are not unusual, (pixels, b)."""
    squares = np.sort(np.einsum("pb,pb->p", values, values))
    return float(squares[: max(int(TYPICAL * len(squares)), 1)].mean())
