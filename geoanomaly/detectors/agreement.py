"""Do two scores see the same change? What can be known of a score without labels.

Scores that err independently agree in their highest values only where both see
something real, so agreement far above chance vouches for both (the reasoning of
Parisi et al. 2014, PNAS 111(4), on predictors without labels).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

TAIL = 0.05
"""Share of the pixels that is looked at."""


def agreement(one: NDArray[np.floating[Any]], other: NDArray[np.floating[Any]]) -> float:
    """Share of either's strangest pixels that are among the other's, 0.05 by chance, 1 at best.

    one, other (pixels,), of the same pixels.
    """
    high = [score > np.quantile(score, 1 - TAIL) for score in (one, other)]
    shared = (high[0] & high[1]).sum() / max(1, min(high[0].sum(), high[1].sum()))
    return float(shared)
