"""Scenes are taken in whole and unchanged, or not at all."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp, MaskFlags
from rio_cogeo.cogeo import cog_validate

from geoanomaly.errors import SceneError
from geoanomaly.intake import cleaning
from geoanomaly.intake import ingest as module
from geoanomaly.intake.ingest import ingest
from geoanomaly.settings import Settings
from tests.hostile.unguarded import Unguarded
from tests.web.backend import CRS, Backend, ground, write_raster
from tests.web.test_problems import assert_problem


def send(backend: Backend, path: Path, **fields: str) -> Any:
    with path.open("rb") as file:
        return backend.http.post("/scenes", files={"file": (path.name, file)}, data=fields)


def left_over(settings: Settings) -> list[str]:
    return [path.name for path in settings.scenes_dir.glob(".*")]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data", threads=2)


def test_an_upload_becomes_a_scene(backend: Backend, tmp_path: Path) -> None:
    path = write_raster(tmp_path / "fields.tif", ground(4))
    response = send(backend, path, sensor="landsat-c2-l2", date="2024-06-30")
    assert response.status_code == 201, response.text
    scene = response.json()
    assert response.headers["location"] == f"{backend.url}/scenes/{scene['id']}"
    assert (scene["title"], scene["sensor"], scene["date"]) == (
        "fields.tif",
        "landsat-c2-l2",
        "2024-06-30",
    )
    assert (scene["width"], scene["height"], len(scene["bands"])) == (300, 300, 6)
    assert "path" not in scene
    ring = np.array(scene["footprint"]["coordinates"][0])
    assert 8.9 < ring[:, 0].min() < ring[:, 0].max() < 9.2
    assert backend.http.get(f"/scenes/{scene['id']}").json() == scene
    assert scene in backend.http.get("/scenes").json()["scenes"]
    kept = Path(backend.store.get_scene(scene["id"]).path)
    assert hashlib.sha256(kept.read_bytes()).hexdigest() == scene["sha256"]


def test_an_uploaded_scene_can_be_named_in_a_job(backend: Backend, tmp_path: Path) -> None:
    path = write_raster(tmp_path / "one.tif", ground(4))
    scene = send(backend, path, date="2024-06-30", sensor="generic").json()["id"]
    inputs = {"inputs": {"scene": scene}}
    response = backend.http.post("/processes/detect-anomaly/execution", json=inputs)
    assert response.status_code == 201, response.text
    (found,) = backend.store.get(response.json()["jobID"]).spec.scenes
    assert (found.title, found.date, found.sensor) == ("one.tif", "2024-06-30", "generic")
    assert Path(found.href).parent == backend.settings.scenes_dir


def test_a_raster_without_crs_is_a_scene_too(backend: Backend, tmp_path: Path) -> None:
    path = write_raster(tmp_path / "plain.tif", ground(4, bands=3), crs=None)
    scene = send(backend, path).json()
    assert (scene["crs"], scene["footprint"]) == (None, None)


def test_a_title_is_a_bare_name(backend: Backend, tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", ground(4))
    files = {"file": ("../../etc/C:\\x\\<b>.tif", path.read_bytes())}
    assert backend.http.post("/scenes", files=files).json()["title"] == "<b>.tif"


def test_a_truncated_file_is_refused(backend: Backend, tmp_path: Path) -> None:
    path = write_raster(tmp_path / "cut.tif", ground(4), tiled=True, compress="deflate")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    detail = assert_problem(send(backend, path), 400, "file")
    assert "truncated" in detail or "opened" in detail
    assert left_over(backend.settings) == []


@pytest.mark.parametrize("kind", ["text", "png", "vrt"])
def test_only_geotiff_is_taken(backend: Backend, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "scene.tif"
    if kind == "text":
        path.write_text("not a raster")
    elif kind == "png":
        write_raster(path, ground(1, 3).astype("uint8"), crs=None, driver="PNG")
    else:
        path.write_text("<VRTDataset rasterXSize='1' rasterYSize='1'></VRTDataset>")
    count = len(backend.store.list_scenes())
    detail = assert_problem(send(backend, path), 400, "file")
    assert "not a GeoTIFF" in detail
    assert str(backend.settings.data_dir) not in detail
    assert len(backend.store.list_scenes()) == count
    assert left_over(backend.settings) == []


def test_wrong_fields_of_the_form(backend: Backend, tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", ground(4))
    assert "modis" in assert_problem(send(backend, path, sensor="modis"), 400, "sensor")
    assert "30.6.24" in assert_problem(send(backend, path, date="30.6.24"), 400, "date")
    assert_problem(backend.http.post("/scenes", data={"sensor": "rgb"}), 400, "file")
    assert_problem(backend.http.post("/scenes", content=b"x"), 400, "file")
    assert left_over(backend.settings) == []


@pytest.mark.parametrize("chunked", [False, True])
def test_an_upload_beyond_the_limit_is_refused(backend: Backend, chunked: bool) -> None:
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.tif"\r\n\r\n'
    body = [head, *([bytes(1_000_000)] * 5), b"\r\n--b--\r\n"]
    headers = {"content-type": "multipart/form-data; boundary=b"}
    content = iter(body) if chunked else b"".join(body)
    response = backend.http.post("/scenes", content=content, headers=headers)
    assert "4,000,000" in assert_problem(response, 413, "file")


PIXELS = np.random.default_rng(0)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "uint16", "float32", "float64"])
@pytest.mark.parametrize("layout", [{}, {"tiled": True, "interleave": "pixel"}])
def test_pixels_stay_bit_equal(
    tmp_path: Path, settings: Settings, dtype: str, layout: dict[str, Any]
) -> None:
    data = PIXELS.normal(50, 30, (3, 257, 611)).astype(dtype)
    if dtype.startswith("float"):
        data[:, 5:9, :] = np.nan
    nodata = float("nan") if dtype.startswith("float") else 7
    path = write_raster(tmp_path / "in.tif", data, nodata=nodata, **layout)
    record = ingest(path, settings, title="in.tif")
    with rasterio.open(path) as before, rasterio.open(record.path) as after:
        assert after.read().tobytes() == data.tobytes() == before.read().tobytes()
        assert after.dtypes == before.dtypes
        assert after.crs == before.crs == rasterio.CRS.from_string(CRS)
        assert after.transform == before.transform
        assert str(after.nodata) == str(before.nodata)
        assert (after.read_masks() == before.read_masks()).all()
    valid, errors, _ = cog_validate(record.path, strict=True)
    assert valid, errors


def test_what_is_known_of_the_bands_is_kept(tmp_path: Path, settings: Settings) -> None:
    path = write_raster(tmp_path / "in.tif", ground(1, 2))
    with rasterio.open(path, "r+") as raster:
        raster.descriptions = ("B04", "B08")
        raster.scales, raster.offsets = (0.0001, 0.0001), (-0.1, -0.1)
    record = ingest(path, settings, title="in.tif")
    assert record.bands == ("B04", "B08")
    with rasterio.open(record.path) as raster:
        assert (raster.scales, raster.offsets) == ((0.0001, 0.0001), (-0.1, -0.1))


def test_masks_of_every_kind_are_kept(tmp_path: Path, settings: Settings) -> None:
    data = ground(1, 4).astype("uint8")
    mask = np.full((300, 300), 255, "uint8")
    mask[40:90] = 0
    own = write_raster(tmp_path / "own.tif", data)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(own, "r+") as raster:
        raster.write_mask(mask)
    alpha = write_raster(tmp_path / "alpha.tif", np.concatenate([data[:3], mask[None]]))
    with rasterio.open(alpha, "r+") as raster:
        colours = (ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha)
        raster.colorinterp = colours
    for path in (own, alpha):
        record = ingest(path, settings, title="in.tif")
        with rasterio.open(path) as before, rasterio.open(record.path) as after:
            assert (after.dataset_mask() == mask).all()
            assert after.colorinterp == before.colorinterp
            assert after.mask_flag_enums == before.mask_flag_enums
    with rasterio.open(own) as raster:
        assert raster.mask_flag_enums[0] == [MaskFlags.per_dataset]


def test_a_palette_is_kept(tmp_path: Path, settings: Settings) -> None:
    path = write_raster(tmp_path / "in.tif", np.eye(300, dtype="uint8")[None])
    with rasterio.open(path, "r+") as raster:
        raster.write_colormap(1, {0: (0, 0, 0, 255), 1: (250, 10, 20, 255)})
    record = ingest(path, settings, title="in.tif")
    with rasterio.open(record.path) as raster:
        assert raster.colormap(1)[1] == (250, 10, 20, 255)


def test_tags_that_name_other_files_are_dropped(tmp_path: Path, settings: Settings) -> None:
    other = write_raster(tmp_path / "other.tif", ground(2, 1))
    path = write_raster(tmp_path / "in.tif", ground(1, 1))
    with rasterio.open(path, "r+") as raster:
        raster.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=str(other))
        raster.update_tags(ns="GEOLOCATION", X_DATASET=str(other))
        raster.update_tags(note="a plain tag")
    record = ingest(path, settings, title="in.tif")
    assert str(other).encode() not in Path(record.path).read_bytes()
    with rasterio.open(record.path) as raster:
        assert (raster.read() == ground(1, 1)).all()


@pytest.mark.parametrize(
    ("profile", "words"),
    [
        ({"count": 1, "width": 60_000, "height": 60_000, "dtype": "uint8"}, "limit is"),
        ({"count": 1, "width": 40_000, "height": 40_000, "dtype": "uint8"}, "is not a scene"),
        ({"count": 1, "width": 100, "height": 100, "dtype": "complex64"}, "complex"),
        ({"count": 1100, "width": 10, "height": 10, "dtype": "uint8"}, "1100 bands"),
        (
            {"count": 1, "width": 30_000, "height": 30_000, "dtype": "uint8",
             "blockxsize": 29_984, "blockysize": 29_984},
            "one block",
        ),
    ],
)  # fmt: skip
def test_a_bomb_is_refused_from_its_header(
    tmp_path: Path, settings: Settings, profile: dict[str, Any], words: str
) -> None:
    path = tmp_path / "bomb.tif"
    options = {"driver": "GTiff", "compress": "deflate", "tiled": True, "crs": CRS}
    options |= {"SPARSE_OK": True, "bigtiff": "YES", **profile}
    with rasterio.open(path, "w", **options):
        pass
    with pytest.raises(SceneError, match=words) as caught:
        ingest(path, settings, title="bomb.tif")
    assert caught.value.field == "file"
    assert not settings.scenes_dir.exists()


def test_nothing_is_left_when_the_disk_lies(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_raster(tmp_path / "in.tif", ground(1, 2))

    def torn(plain: Path, clean: Path) -> None:
        with rasterio.open(plain) as source:
            data = source.read()
        data[0, 3, 3] += 1
        write_raster(clean, data)

    monkeypatch.setattr(cleaning, "_to_cog", torn)
    monkeypatch.setattr(module, "sandbox", Unguarded)
    with pytest.raises(OSError, match="what was written"):
        ingest(path, settings, title="in.tif")
    assert list(settings.scenes_dir.iterdir()) == []
