"""Which leases nobody renews, by the steady clock of whoever watches.

The clock on the wall may jump: forwards it would end every lease at once, backwards it
would keep a dead worker's lease for hours. So a lease ends when one process has seen it
unchanged for long enough, whatever time it claims to hold until.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

LONGEST_LOOK_SECONDS = 10.0
"""A pause between two looks counts for no more: whoever was stopped himself has watched nobody,
and the workers that were stopped with him must have a chance to renew first."""


@dataclass(frozen=True)
class Beat:
    """A lease as it stands in the database. until: changes with every renewal."""

    job_id: str
    fence: int
    until: float


class Watch:
    """What one process has seen of all leases. steady: seconds that never jump."""

    def __init__(self, steady: Callable[[], float] = time.monotonic) -> None:
        self._steady = steady
        self._looked = steady()
        self._unchanged: dict[Beat, float] = {}

    def silent(self, beats: Iterable[Beat], seconds: float) -> list[Beat]:
        """Look again; the answer are those that were seen without a change for `seconds`."""
        now = self._steady()
        pause = min(now - self._looked, LONGEST_LOOK_SECONDS)
        self._looked = now
        known = self._unchanged
        self._unchanged = {beat: known[beat] + pause if beat in known else 0.0 for beat in beats}
        return [beat for beat, unchanged in self._unchanged.items() if unchanged >= seconds]
