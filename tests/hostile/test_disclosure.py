"""Files of the server stay there: no request gets a byte of a planted one, by any route.

Each guard is tested twice: with it the attack gets nothing, without it the attack works.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from geoanomaly.errors import SceneError
from geoanomaly.intake import ingest as module
from geoanomaly.intake.ingest import ingest
from geoanomaly.sandbox import guards
from geoanomaly.settings import Settings
from tests.hostile.corpus import cases, disclosures, tiff
from tests.hostile.run import SECRET, Target, target
from tests.hostile.unguarded import Unguarded
from tests.web.backend import write_raster

PIXELS = np.frombuffer((SECRET * 40).encode()[:400], "uint8").reshape(1, 20, 20)
JSON = {"Content-Type": "application/json"}
ROUTES = (
    "/jobs/{}", "/jobs/{}/results", "/jobs/x/files/{}", "/jobs/x/map?layer={}",
    "/jobs/x/tiles/{}/preview.png", "/jobs/x/tiles/heatmap/preview.png?url={}", "/scenes/{}",
    "/scenes/{}/thumbnail.png", "/scenes/{}/tiles/0/0/0.png", "/static/{}", "/processes/{}",
    "/ui/jobs/{}", "/{}", "/jobs?q={}",
)  # fmt: skip


@pytest.fixture(scope="module")
def aim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with target(tmp_path_factory.mktemp("disclosure")) as found:
        write_raster(found.planted.with_suffix(".tif"), PIXELS)
        yield found


def test_no_path_and_no_wrapper_of_one_is_read(aim: Target) -> None:
    attempts = list(disclosures(aim.planted))
    assert len(attempts) >= 200
    for number, href in enumerate(attempts):
        field = ("scene", "mask")[number % 2]
        inputs = {"scene": aim.scene, field: {"href": href}}
        # Written here: half a character passes only in escaped form.
        content = json.dumps({"inputs": inputs}).encode()
        answer = aim.http.post("/processes/detect-anomaly/execution", content=content, headers=JSON)
        assert answer.status_code == 400, href
        assert answer.json()["field"] == field
        assert SECRET not in answer.text


def test_no_route_reads_what_its_address_names(aim: Target) -> None:
    place = str(aim.planted)
    names = [
        place, place.lstrip("/"), "../" * 12 + place.lstrip("/"), "..%2f" * 12 + place.lstrip("/"),
        "%2e%2e/" * 12 + place.lstrip("/"), f"file://{place}", place.replace("/", "%2f"),
        f"....//....//{place}", place + "%00.png", "..\\" * 12 + place,
    ]  # fmt: skip
    for route in ROUTES:
        for name in names:
            answer = aim.http.get(route.format(name))
            assert SECRET not in answer.text, (route, name)
            assert answer.status_code < 500, (route, name, answer.text)


def kinds_of_uploads(planted: Path) -> list[Any]:
    return list(cases(planted, ["disguised", "tags_that_name_files", "other_drivers"]))


def test_uploads_bring_only_their_own_pixels(aim: Target) -> None:
    """What was taken has the pixels that were sent; its pictures have no others."""
    own, taken = _pixels(tiff()), 0
    for case in kinds_of_uploads(aim.planted)[::5]:
        answer = aim.send(case)
        assert SECRET not in answer.text
        if answer.status_code != 201:
            continue
        taken += 1
        scene = answer.json()["id"]
        kept = aim.settings.scenes_dir / f"{scene}.tif"
        assert SECRET.encode() not in kept.read_bytes()
        assert (_pixels(kept.read_bytes()) == own).all(), case.name
        for route in ("", "/thumbnail.png", "/tiles/8/133/89.png"):
            assert SECRET.encode() not in aim.http.get(f"/scenes/{scene}{route}").content
    assert taken > 5, "some of these are good rasters"


def _pixels(content: bytes) -> Any:
    with rasterio.io.MemoryFile(content) as file, file.open() as raster:
        return raster.read()


def vrt_of(path: Path) -> str:
    return (
        "<VRTDataset rasterXSize='20' rasterYSize='20'><VRTRasterBand dataType='Byte' band='1'>"
        f"<SimpleSource><SourceFilename relativeToVRT='0'>{path}</SourceFilename>"
        "<SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"
    )


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    return write_raster(tmp_path / "secret.tif", PIXELS)


@pytest.fixture
def disguised(tmp_path: Path, secret: Path) -> Path:
    path = tmp_path / "sent.tif"
    path.write_text(vrt_of(secret))
    return path


def taken(path: Path, tmp_path: Path, *drivers: str) -> bytes:
    settings = Settings(data_dir=tmp_path / "data", raster_drivers=drivers)
    return _pixels(Path(ingest(path, settings, title="x").path).read_bytes()).tobytes()


def test_the_list_of_drivers_is_a_guard(
    disguised: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By itself: in this process, where every driver is there and every file can be read."""
    monkeypatch.setattr(module, "sandbox", Unguarded)
    with pytest.raises(SceneError, match="not a GeoTIFF"):
        taken(disguised, tmp_path, "GTiff")
    assert SECRET.encode() in taken(disguised, tmp_path, "GTiff", "VRT")


@pytest.mark.skipif(not guards.landlock_version(), reason="no Landlock")
def test_the_sandbox_is_a_guard(
    disguised: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By itself: with the driver that the other guard leaves out."""
    with pytest.raises(SceneError):
        taken(disguised, tmp_path, "GTiff", "VRT")
    monkeypatch.setattr(module, "sandbox", Unguarded)
    assert SECRET.encode() in taken(disguised, tmp_path, "GTiff", "VRT")


def test_a_raster_is_published_by_its_name_alone(
    secret: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What breaks off before the rename leaves nothing; written in place, half a file stays."""
    settings = Settings(data_dir=tmp_path / "data")

    def broken(*_: Path) -> None:
        raise OSError("the power is gone")

    def in_place(partial: Path, path: Path) -> None:
        path.write_bytes(partial.read_bytes()[:99])
        broken()

    for publish, left in ((broken, 0), (in_place, 1)):
        monkeypatch.setattr(module, "publish", publish)
        with pytest.raises(OSError, match="power"):
            ingest(secret, settings, title="x")
        assert len(list(settings.scenes_dir.iterdir())) == left
