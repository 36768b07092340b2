"""Third-party files: pinned, verified, placed once."""

from __future__ import annotations

import hashlib
import io
import json
import sys
import tarfile
from pathlib import Path

import folium
import pytest
import shapely

from web import assets, countries
from web.assets import AssetError, Manifest, Package


def tarball(content: bytes) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as archive:
        info = tarfile.TarInfo("package/a.js")
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return raw.getvalue()


def fake_npm(folder: Path, content: bytes) -> tuple[str, ...]:
    """A program that leaves a tarball where `npm pack` would."""
    source = folder / "source.tgz"
    source.write_bytes(content)
    code = f"import shutil; shutil.copy({str(source)!r}, 'thing-1.0.0.tgz')"
    return (sys.executable, "-c", code)


@pytest.fixture
def packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    content = tarball(b"let a = 1;")
    digest = hashlib.sha256(content).hexdigest()
    package = Package("thing", "1.0.0", digest, "MIT", ({"from": "a.js", "to": "thing/a.js"},))
    found = Manifest((package,), {}, "digest")
    monkeypatch.setattr(assets, "manifest", lambda: found)
    monkeypatch.setattr(assets, "VENDOR", tmp_path / "vendor")
    return content


def test_files_are_placed_and_then_left_alone(tmp_path: Path, packed: bytes) -> None:
    root = tmp_path / "vendor"
    assert not assets.is_vendored(root)
    assets.fetch(fake_npm(tmp_path, packed), root)
    assert assets.is_vendored(root)
    assert (root / "thing" / "a.js").read_bytes() == b"let a = 1;"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source.tgz", "vendor"]


def test_a_wrong_hash_changes_nothing(tmp_path: Path, packed: bytes) -> None:
    root = tmp_path / "vendor"
    assets.fetch(fake_npm(tmp_path, packed), root)
    with pytest.raises(AssetError, match="sha256"):
        assets.fetch(fake_npm(tmp_path, tarball(b"evil")), root)
    assert (root / "thing" / "a.js").read_bytes() == b"let a = 1;"


@pytest.mark.usefixtures("packed")
def test_no_npm_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(assets, "npm_command", lambda: None)
    assert assets.main() == 0
    assert "no npm found" in capsys.readouterr().err


@pytest.mark.usefixtures("packed")
def test_an_npm_that_fails_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        assets, "npm_command", lambda: (sys.executable, "-c", "raise SystemExit(1)")
    )
    assert assets.main() == 0
    assert "npm failed" in capsys.readouterr().err


def test_the_manifest_pins_each_package_with_its_licence() -> None:
    manifest = assets.manifest()
    for package in manifest.packages:
        assert len(package.sha256) == 64
        assert package.licence
        assert any("LICENSE" in file["to"] for file in package.files)
    assert set(manifest.links.values()) <= set(manifest.targets)


def test_the_manifest_has_the_addresses_of_the_installed_folium() -> None:
    urls = {url for name, url in folium.Map.default_js if name == "leaflet"}
    urls |= {url for name, url in folium.Map.default_css if name == "leaflet_css"}
    assert urls == set(assets.manifest().links)


def test_a_country_across_the_antimeridian_is_two_parts() -> None:
    ring = [(170, 0), (180, 0), (-170, 0), (-170, 10), (180, 10), (170, 10)]
    east, west = countries._cut_at_antimeridian(shapely.Polygon(ring)).geoms
    assert east.equals(shapely.box(170, 0, 180, 10))
    assert west.equals(shapely.box(-180, 0, -170, 10))
    pole = shapely.Polygon([(-180, -80), (0, -70), (180, -80), (180, -90), (-180, -90)])
    assert countries._cut_at_antimeridian(pole) is pole


def test_countries_become_geojson(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GDAL_DATA", "")
    ring = [[0, 0], [10.123456, 0], [0, 10], [-10.123456, -10]]
    topology = {
        "type": "Topology",
        "arcs": [ring],
        "objects": {
            "countries": {
                "type": "GeometryCollection",
                "geometries": [{"type": "Polygon", "arcs": [[0]], "properties": {"name": "X"}}],
            }
        },
        "transform": {"scale": [1, 1], "translate": [0, 0]},
    }
    found = json.loads(countries.to_geojson(json.dumps(topology).encode()))
    (feature,) = found["features"]
    assert feature["properties"] == {}
    assert feature["geometry"]["coordinates"][0][1] == [10.12, 0]
