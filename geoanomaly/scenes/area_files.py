"""An area from a vector file that somebody sent: one of four formats, told by its content.

GDAL would open more than those, among them formats that name other files or addresses
to read. So the content decides which driver may see the file, never the other way round.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree import ElementTree

from shapely import force_2d, get_num_coordinates
from shapely.geometry.base import BaseGeometry

from geoanomaly.errors import AreaError
from geoanomaly.scenes.area_checks import MAX_VERTICES, check_size, joined, repaired, too_many
from geoanomaly.scenes.areas import area_from_geojson, check_area
from geoanomaly.types import AOI

WGS84 = "EPSG:4326"
MAX_BYTES = 32 * 2**20
MAX_UNPACKED_BYTES = 256 * 2**20
FORMATS = "Send GeoJSON, GeoPackage, KML, or a Shapefile with all its parts in one .zip."


@dataclass(frozen=True)
class AreaFile:
    """area: in WGS 84; polygons: how many were joined; notes: what was left out or changed."""

    area: AOI
    polygons: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sent:
    """name: what its sender calls it; repair: make outlines valid that cross themselves."""

    name: str
    repair: bool = False


def read_sent_area(path: Path, sent: Sent) -> AreaFile:
    """All polygons of the file at `path`; AreaError calls it as its sender does.

    Unpacks into the folder of `path`, which should be the file's own.
    """
    head = path.read_bytes()[:16]
    if head.startswith(b"SQLite format 3\0"):
        return _read(_called(path, "area.gpkg"), sent)
    if head.startswith(b"PK\3\4"):
        return _read_zip(path, sent)
    text = path.read_bytes().removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith(b"{"):
        return _read_geojson(text, sent)
    if text.startswith(b"<") and _is_kml(text):
        return _read(_called(path, "area.kml"), sent)
    raise AreaError(
        f"{sent.name} is none of the formats that are read here. {FORMATS}", field="file"
    )


def looks_like_vectors(path: Path) -> bool:
    """Would `read_sent_area` try one of its formats?"""
    return _head(path).startswith((b"SQLite format 3\0", b"PK\3\4", b"{", b"<"))


def is_geojson(path: Path) -> bool:
    return _head(path).startswith(b"{")


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip()


def _read_geojson(text: bytes, sent: Sent) -> AreaFile:
    try:
        data: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise AreaError(f"{sent.name} is not valid JSON: {error}.", field="file") from None
    # Not in the standard any more, but QGIS and GDAL still write it for other systems.
    try:
        crs = data["crs"]["properties"]["name"]
    except (KeyError, TypeError):
        crs = WGS84
    check_size(data, field="file")
    area = area_from_geojson(data, str(crs), field="file", repair=sent.repair)
    return _in_degrees(area, [area.note] if area.note else [])


def _is_kml(text: bytes) -> bool:
    """Its first element is kml, and it holds nothing that another driver would take for its own."""
    if b"<!ENTITY" in text or b"<OGR" in text:
        return False
    try:
        _, first = next(ElementTree.iterparse(BytesIO(text), events=("start",)))
    except (ElementTree.ParseError, StopIteration):
        return False
    return str(first.tag).rpartition("}")[2] == "kml"


def _read_zip(path: Path, sent: Sent) -> AreaFile:
    try:
        with zipfile.ZipFile(path) as archive:
            return _read(_unpack(archive, path.parent, sent.name), sent)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise AreaError(f"{sent.name} cannot be unpacked: {error}.", field="file") from None


def _unpack(archive: zipfile.ZipFile, folder: Path, name: str) -> Path:
    """The Shapefile or KML document of an archive, with its parts, under names of our own."""
    members = [each for each in archive.infolist() if "__MACOSX" not in each.filename]
    main = [each for each in members if _suffix(each) in (".shp", ".kml")]
    if len(main) != 1:
        found = ", ".join(each.filename for each in main[:4]) or "none"
        raise AreaError(
            f"{name} should hold one Shapefile (or one KML document), found: {found}.", field="file"
        )
    stem = PurePosixPath(main[0].filename).with_suffix("")
    parts = [each for each in members if PurePosixPath(each.filename).with_suffix("") == stem]
    if sum(each.file_size for each in parts) > MAX_UNPACKED_BYTES:
        raise AreaError(
            f"{name} unpacks to more than {MAX_UNPACKED_BYTES:,} bytes. Simplify it.", field="file"
        )
    for part in parts:
        with archive.open(part) as source, (folder / f"area{_suffix(part)}").open("wb") as target:
            shutil.copyfileobj(source, target)
    found_path = folder / f"area{_suffix(main[0])}"
    if found_path.suffix == ".kml" and not _is_kml(found_path.read_bytes()):
        raise AreaError(f"The document in {name} is no KML. {FORMATS}", field="file")
    if found_path.suffix == ".shp" and found_path.read_bytes()[:4] != b"\0\0\x27\x0a":
        raise AreaError(f"The .shp in {name} is no Shapefile. {FORMATS}", field="file")
    return found_path


def _suffix(member: zipfile.ZipInfo) -> str:
    return PurePosixPath(member.filename).suffix.lower()


def _called(path: Path, name: str) -> Path:
    """The same file under a name whose ending tells GDAL what it is."""
    target = path.with_name(name)
    path.rename(target)
    return target


def _read(path: Path, sent: Sent) -> AreaFile:
    name = sent.name
    crs: Any = None
    polygons: list[BaseGeometry] = []
    others = 0
    for frame in _layers(path, name):
        kept = frame[frame.geom_type.isin(("Polygon", "MultiPolygon"))]
        others += len(frame) - len(kept)
        if kept.empty:
            continue
        if kept.crs is None:
            remedy = "Add the .prj file to the zip" if path.suffix == ".shp" else "Assign one"
            raise AreaError(f"{name} has no CRS. {remedy}, and send it again.", field="file")
        crs = crs or kept.crs
        polygons += list(kept.to_crs(crs).geometry)
    if not polygons:
        raise AreaError(f"{name} has no polygon. Draw or export one.", field="file")
    return _joined(polygons, crs.to_string(), others, sent)


def _layers(path: Path, name: str) -> Iterator[Any]:
    """A GeoDataFrame for each layer that has geometries."""
    import geopandas  # half a second to import, and only needed here
    import pyogrio

    try:
        for layer, kind in pyogrio.list_layers(path):
            if kind is not None:
                yield geopandas.read_file(path, layer=layer)
    except Exception as error:
        reason = str(error).replace(str(path), name).rstrip(".")
        raise AreaError(f"{name} cannot be read: {reason}.", field="file") from None


def _joined(polygons: list[BaseGeometry], crs: str, others: int, sent: Sent) -> AreaFile:
    parts = [force_2d(polygon) for polygon in polygons]
    count = int(get_num_coordinates(parts).sum())
    if count > MAX_VERTICES:
        raise too_many(count, "file")
    notes = [f"{others} other features of {sent.name} were left out."] if others else []
    if sent.repair:
        mended = [repaired(part, crs, field="file") for part in parts]
        parts = [part for part, _ in mended]
        notes += [note for _, note in mended if note]
    for part in parts:
        check_area(AOI(part, crs), field="file")
    return _in_degrees(AOI(joined(parts, "file"), crs), notes)


def _in_degrees(area: AOI, notes: list[str]) -> AreaFile:
    import geopandas

    placed = geopandas.GeoSeries([force_2d(area.geometry)], crs=area.crs).to_crs(WGS84).iloc[0]
    # Coordinates behind infinity, where a CRS does not reach, are refused here.
    found = check_area(AOI(placed, WGS84, area.note), field="file")
    return AreaFile(found, len(getattr(placed, "geoms", [placed])), tuple(notes))
