"""When scenes were taken, and which of the earlier ones are most like a job's own pair."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime
from itertools import combinations

from geoanomaly.types import Scene

HISTORY = "history"
"""The detector that looks at all earlier scenes."""

MIN_HISTORY = 2
"""Earlier scenes beside the before scene. Fewer make one pair, and one pair is no rule."""

YEAR = 365.25
_IN_NAME = re.compile(
    r"(?<!\d)(19[7-9]\d|20\d\d)([-_]?)(0[1-9]|1[0-2])\2(0[1-9]|[12]\d|3[01])(?!\d)"
)

GAP_WEIGHT = 0.1
"""Days of season that a day more or less between two dates counts for."""


def acquired(scene: Scene) -> date | None:
    """The scene's date, else one in its name, as in T35TLM_20200701T092031; None = unknown."""
    if scene.date:
        return datetime.fromisoformat(scene.date).date()
    for found in _IN_NAME.finditer(scene.label):
        try:
            return date(int(found[1]), int(found[3]), int(found[4]))
        except ValueError:  # the 31st of June
            continue
    return None


def order(dates: Sequence[date | None]) -> list[int]:
    """Positions from early to late; as given where a date is unknown."""
    known = [each for each in dates if each is not None]
    if len(known) < len(dates):
        return list(range(len(dates)))
    return sorted(range(len(dates)), key=lambda number: known[number])


def season_apart(one: date, other: date) -> float:
    """Days between two dates of any years, 0 to 183."""
    days = abs((one - other).days) % YEAR
    return min(days, YEAR - days)


def alike(
    earlier: Sequence[date | None], before: date | None, after: date | None
) -> list[tuple[int, int]]:
    """Pairs of earlier dates, from the one most like the pair of a job to the least.

    Its dates lie in the seasons of the job's, and about as far apart. Without dates,
    neighbours, the last first. No two pairs begin or end with the same date, so that one
    poor scene cannot spoil them all.
    """
    known = [each for each in earlier if each is not None]
    if len(known) < len(earlier) or before is None or after is None:
        return [(end - 1, end) for end in range(len(earlier) - 1, 0, -1)]
    by_time = sorted(range(len(known)), key=lambda number: known[number])

    def unlike(pair: tuple[int, int]) -> float:
        start, end = (known[number] for number in pair)
        gaps = abs((end - start).days - (after - before).days)
        return season_apart(start, before) + season_apart(end, after) + GAP_WEIGHT * gaps

    chosen: list[tuple[int, int]] = []
    for pair in sorted(combinations(by_time, 2), key=unlike):
        if not any(pair[0] == start or pair[1] == end for start, end in chosen):
            chosen.append(pair)
    return chosen
