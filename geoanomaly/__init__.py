"""What an anomaly is: areas, scenes, sensors, models, scores, jobs and the command line.

Nearly empty on purpose: importing the package must stay cheap, and torch is
imported only by the modules that run a network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from geoanomaly.results.heatmap import Heatmap as Heatmap

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`geoanomaly.Heatmap`, imported when it is first asked for."""
    if name == "Heatmap":
        from geoanomaly.results.heatmap import Heatmap

        return Heatmap
    raise AttributeError(f"module 'geoanomaly' has no attribute {name!r}")
