#!/bin/sh
# The wheel: what it holds, and a quick part of the suite against it from a folder where
# the source tree cannot be imported. BIN: the folder of the environment's python.
set -eu

source=$(cd "$(dirname "$0")/.." && pwd)
python="$(cd "${BIN:-$source/.venv/bin}" && pwd)/python"
work=$(mktemp -d "${TMPDIR:-/tmp}/geoanomaly-wheel-XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

# Built from a copy: what an older build left in the tree must not get into the wheel.
mkdir "$work/tree" "$work/wheel" "$work/run"
(cd "$source" && tar -cf - --exclude __pycache__ --exclude '*.egg-info' \
    pyproject.toml README.md LICENSE geoanomaly tasks tiling web tests) | tar -xf - -C "$work/tree"

# The environment's own setuptools when it is new enough, so that nothing is downloaded.
isolation=$("$python" -c '
try:
    from setuptools import __version__ as found
    print("--no-build-isolation" if int(found.split(".")[0]) >= 77 else "")
except ImportError:
    pass')
# shellcheck disable=SC2086  # empty means no argument
"$python" -m pip --disable-pip-version-check wheel --quiet --no-deps $isolation \
    --wheel-dir "$work" "$work/tree"
"$python" -m zipfile -e "$work"/geoanomaly-*.whl "$work/wheel"
cp "$source/pyproject.toml" "$work/run"
cp -R "$work/tree/tests" "$work/run/tests"
rm -rf "$work/tree"

cat >"$work/run/tests/test_wheel.py" <<'EOF'
"""Written by tests/wheel_test.sh: the wheel is whole, and it is what the tests import."""

import json
import os
from importlib import import_module
from importlib.metadata import metadata
from pathlib import Path

import pytest

import geoanomaly

WHEEL = Path(os.environ["WHEEL"])
SOURCE = Path(os.environ["SOURCE"])
PACKAGES = ["geoanomaly", "tasks", "tiling", "web"]


@pytest.mark.parametrize("name", PACKAGES)
def test_the_wheel_is_imported(name: str) -> None:
    assert Path(import_module(name).__file__).parent == WHEEL / name


def test_nothing_else_is_packaged() -> None:
    info = f"geoanomaly-{geoanomaly.__version__}.dist-info"
    assert sorted(path.name for path in WHEEL.iterdir() if path.name != "__pycache__") == sorted(
        [*PACKAGES, info]
    )
    assert (WHEEL / info / "licenses" / "LICENSE").read_bytes() == (SOURCE / "LICENSE").read_bytes()
    assert metadata("geoanomaly")["License-Expression"] == "Apache-2.0"
    assert "geoanomaly = geoanomaly.cli:main" in (WHEEL / info / "entry_points.txt").read_text()


def files(root: Path) -> set[str]:
    return {
        str(path.relative_to(root))
        for name in PACKAGES
        for path in (root / name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_every_file_of_the_packages_is_there() -> None:
    """Modules, templates, static files, and the map's scripts where this tree has them."""
    # The stamp says to `python -m web.assets` that nothing is to be fetched.
    assert files(WHEEL) == files(SOURCE)
    assert {"web/templates/ui.html", "web/static/app.js", "web/assets.json"} <= files(WHEEL)


def test_the_scripts_of_the_map_are_there() -> None:
    if not (SOURCE / "web/static/vendor").is_dir():
        pytest.skip("no vendored scripts in the source tree: python -m web.assets fetches them")
    packages = json.loads((WHEEL / "web/assets.json").read_text())["packages"]
    wanted = [file["to"] for package in packages for file in package["files"]]
    assert wanted
    assert [name for name in wanted if not (WHEEL / "web/static/vendor" / name).is_file()] == []
    from web.assets import is_vendored

    assert is_vendored()
EOF

cd "$work/run"
# No -P or safe path: children that the tests start must find the wheel too.
PYTHONPATH="$work/wheel" WHEEL="$work/wheel" SOURCE="$source" "$python" -m pytest \
    tests/test_wheel.py tests/tiling tests/geoanomaly tests/web \
    -m "not service and not browser" -p no:cacheprovider -n 2 --dist loadfile \
    --ignore tests/geoanomaly/test_pipeline.py --ignore tests/geoanomaly/test_synthetic.py \
    --ignore tests/geoanomaly/test_models.py --ignore tests/geoanomaly/test_backbone.py \
    -k "not ctrl_c and not terminal and not detect_change and not trained_anew" "$@"
