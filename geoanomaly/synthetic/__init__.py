"""A seeded generator of believable land cover, with planted anomalies and their truth.

The walk: `layout.plan` says where everything is, `anomalies.plant` where the
unusual is, `render.reflectance` what a sensor sees of both on a date, and
`scenes` writes GeoTIFFs. Only `scenes` has side effects.
"""

from __future__ import annotations

from geoanomaly.synthetic.anomalies import KINDS, PlantedAnomaly
from geoanomaly.synthetic.scenes import ScenePair, SingleScene, generate, generate_single

__all__ = [
    "KINDS",
    "PlantedAnomaly",
    "ScenePair",
    "SingleScene",
    "generate",
    "generate_single",
]
