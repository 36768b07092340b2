"""What importing the web package costs and does."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("torch", "folium", "geopandas", "matplotlib", "sklearn", "celery")


def test_importing_the_application_loads_no_torch_and_builds_nothing() -> None:
    code = f"import sys, web.app; print([m for m in {HEAVY!r} if m in sys.modules])"
    found = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"
