"""How fast the tiles go and how long the rest will take."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from geoanomaly.types import Progress


@dataclass
class Pace:
    """Counts tiles between `start` and `end` percent of a job.

    done: tiles that an earlier run had finished; they count for the percentage,
    not for the rate. after: how long what follows takes, as a share of all the tiles.
    """

    total: int
    done: int
    start: float
    end: float
    after: float = 0.0
    clock: Callable[[], float] = time.monotonic
    began: float = field(init=False)
    _here: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.began = self.clock()

    def step(self) -> Progress:
        """One more tile is finished."""
        self.done += 1
        self._here += 1
        return self.progress()

    def progress(self) -> Progress:
        share = self.done / self.total if self.total else 1.0
        message = f"{self.done} of {self.total} tiles"
        elapsed = self.clock() - self.began
        if self._here and elapsed > 0:
            rate = self._here / elapsed
            left = (self.total - self.done + self.after * self.total) / rate
            message += f", {rate:.1f} a second, {_span(left)} left"
        return Progress("scoring", self.start + (self.end - self.start) * share, message)


def _span(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
