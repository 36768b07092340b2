"""The sandbox taken away: its tasks run in this process, with all that this process may do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from geoanomaly.intake import sandboxed as tasks
from geoanomaly.sandbox.supervisor import Answer
from geoanomaly.settings import Settings


class Unguarded:
    """Stands where `supervisor.sandbox` is called."""

    def __init__(self, _: Settings) -> None:
        pass

    def call(self, task: str, arguments: Mapping[str, Any], *_: object, **__: object) -> Answer:
        return Answer(getattr(tasks, task)(dict(arguments), print), 0, 0.0)
