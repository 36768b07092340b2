"""Bad inputs of every kind, made when asked for: 21 categories, more than 600 cases.

A case is a request to the service. Each must be answered with a refusal that names the
field at fault, or be taken where it does no harm (`harmless`).
"""

from __future__ import annotations

import io
import json
import math
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import shapely
from rasterio.io import MemoryFile
from rasterio.transform import from_origin
from shapely.geometry import mapping

SEED = 20261122


@dataclass(frozen=True)
class Case:
    """kind: what is sent: "scene" or "area" (a file of that name), or "request" (JSON text).

    harmless: it may also be accepted, for it is odd and not bad.
    """

    category: str
    name: str
    kind: str
    content: bytes | Callable[[], bytes]
    harmless: bool = False

    @property
    def body(self) -> bytes:
        """What is sent; large ones are made only now."""
        return self.content if isinstance(self.content, bytes) else self.content()


Maker = Callable[[Path], Iterator[Case]]
"""Makes the cases of a category. The path: a file with a planted text, and its folder."""


def tiff(width: int = 64, height: int = 64, count: int = 1, **options: Any) -> bytes:
    """A small real GeoTIFF."""
    dtype = options.pop("dtype", "uint16")
    data = options.pop("data", None)
    tags = options.pop("tags", {})
    grid = {"crs": "EPSG:32632", "transform": from_origin(500_000, 5_300_000, 30, 30)}
    profile = {"driver": "GTiff", "width": width, "height": height, "count": count,
               "dtype": dtype, **grid, **options}  # fmt: skip
    with MemoryFile() as file:
        with file.open(**profile) as raster:
            if data is None and not options.get("SPARSE_OK"):
                random = np.random.default_rng(SEED)
                data = random.integers(0, 200, (count, height, width)).astype(dtype)
            if data is not None:
                raster.write(data)
            for space, values in tags.items():
                raster.update_tags(ns=space, **values)
        return bytes(file.getbuffer())


def raw_tiff(entries: Mapping[int, tuple[int, int, int]], body: bytes = b"") -> bytes:
    """A classic TIFF written by hand: tag -> (type, count, value), one directory, then `body`."""
    lines = b"".join(struct.pack("<HHII", tag, *entry) for tag, entry in sorted(entries.items()))
    return (
        struct.pack("<2sHI", b"II", 42, 8)
        + struct.pack("<H", len(entries))
        + lines
        + bytes(4)
        + body
    )


SHORT, LONG = 3, 4
PLAIN: dict[int, tuple[int, int, int]] = {
    256: (LONG, 1, 16), 257: (LONG, 1, 16), 258: (SHORT, 1, 8), 259: (SHORT, 1, 1),
    262: (SHORT, 1, 1), 273: (LONG, 1, 200), 277: (SHORT, 1, 1), 278: (LONG, 1, 16),
    279: (LONG, 1, 256),
}  # fmt: skip


def not_rasters(_: Path) -> Iterator[Case]:
    texts = {
        "empty": b"", "one byte": b"I", "text": b"hello", "zeros": bytes(5000),
        "html": b"<!DOCTYPE html><script>1</script>", "pdf": b"%PDF-1.7\n%%EOF",
        "elf": b"\x7fELF" + bytes(100), "gzip": zlib.compress(bytes(99)), "json": b"{}",
        "pickle": b"\x80\x04cposix\nsystem\n(S'true'\ntR.", "header only": b"II*\0",
        "big header only": b"II+\0\x08\0\0\0", "other order": b"MM\0*", "random": np.random.default_rng(1).bytes(4096),
        "jpeg": b"\xff\xd8\xff\xe0" + bytes(64), "png": b"\x89PNG\r\n\x1a\n" + bytes(64),
        "hdf5": b"\x89HDF\r\n\x1a\n" + bytes(512), "netcdf": b"CDF\x01" + bytes(512),
        "sqlite": b"SQLite format 3\0" + bytes(84), "zip": b"PK\3\4" + bytes(64),
        "nitf": b"NITF02.10" + bytes(900), "grib": b"GRIB" + bytes(64), "bom": b"\xef\xbb\xbfII*\0",
        "jp2 header": bytes.fromhex("0000000c6a5020200d0a870a") + bytes(64),
        "j2k header": bytes.fromhex("ff4fff51002f") + bytes(64),
    }  # fmt: skip
    for name, content in texts.items():
        yield Case("not a raster", name, "scene", content)


def truncated(_: Path) -> Iterator[Case]:
    for layout, options in (
        ("strips", {}), ("tiles", {"tiled": True, "blockxsize": 16, "blockysize": 16}),
        ("deflate", {"compress": "deflate"}), ("lzw", {"compress": "lzw", "predictor": 2}),
        ("zstd", {"compress": "zstd"}),
    ):  # fmt: skip
        whole = tiff(**options)
        for share in (0.1, 0.3, 0.5, 0.7, 0.9, 0.97):
            yield Case("truncated", f"{layout} {share}", "scene", whole[: int(len(whole) * share)])


def odd_samples(_: Path) -> Iterator[Case]:
    for dtype in ("complex64", "complex128", "complex_int16"):
        yield Case("odd samples", dtype, "scene", tiff(dtype=dtype, SPARSE_OK=True))
    for dtype in ("int8", "uint64", "int64", "float64", "uint32"):
        yield Case("odd samples", dtype, "scene", tiff(dtype=dtype), harmless=True)
    for bits in (1, 2, 4, 7, 9, 12, 17, 24, 31):
        dtype = "uint8" if bits <= 8 else "uint16" if bits <= 16 else "uint32"
        yield Case("odd samples", f"{bits} bits", "scene", tiff(dtype=dtype, NBITS=bits), True)
    for value in (float("nan"), float("inf"), -float("inf"), 1e308, -1e308):
        data = np.full((1, 64, 64), value)
        yield Case("odd samples", f"all {value}", "scene", tiff(dtype="float64", data=data), True)
    for bits, form in (
        (0, 1),
        (3, 1),
        (5, 3),
        (64, 3),
        (128, 3),
        (16, 5),
        (32, 6),
        (8, 9),
        (65535, 1),
    ):
        entries = {**PLAIN, 258: (SHORT, 1, bits), 339: (SHORT, 1, form)}
        yield Case(
            "odd samples",
            f"{bits} bits of form {form}",
            "scene",
            raw_tiff(entries, bytes(500)),
            True,
        )


def bombs(_: Path) -> Iterator[Case]:
    small = {"compress": "deflate", "tiled": True, "SPARSE_OK": True, "bigtiff": "YES"}
    for side in (20_000, 40_000, 60_000, 100_000, 1_000_000):
        for dtype in ("uint8", "float64"):
            if side < 1_000_000:
                yield Case(
                    "bomb",
                    f"sparse {side} {dtype}",
                    "scene",
                    tiff(side, side, dtype=dtype, **small),
                )
    for block in (8192, 16384, 32768):
        for compress in ("deflate", "zstd", "lzma"):
            options = {**small, "compress": compress, "blockxsize": block, "blockysize": block}
            yield Case(
                "bomb",
                f"{compress} block {block}",
                "scene",
                tiff(block, block, dtype="float32", **options),
            )
    for count in (1025, 5000, 60_000):
        yield Case(
            "bomb", f"{count} bands", "scene", tiff(2, 2, count, dtype="uint8", SPARSE_OK=True)
        )
    for width, height in (
        (2**31 - 1, 1),
        (1, 2**31 - 1),
        (65_535, 65_535),
        (2**32 - 1, 2**32 - 1),
        (0, 0),
        (0, 9),
        (2**31, 2**31),
    ):
        entries = {**PLAIN, 256: (LONG, 1, width), 257: (LONG, 1, height), 278: (LONG, 1, height)}
        yield Case("bomb", f"claims {width} x {height}", "scene", raw_tiff(entries, bytes(500)))
    for samples in (0, 1000, 65_535):
        entries = {**PLAIN, 277: (SHORT, 1, samples)}
        yield Case("bomb", f"claims {samples} samples", "scene", raw_tiff(entries, bytes(500)))
    for rows in (0, 1, 2**32 - 1):
        entries = {**PLAIN, 256: (LONG, 1, 30_000), 257: (LONG, 1, 30_000), 278: (LONG, 1, rows)}
        yield Case("bomb", f"strips of {rows} rows", "scene", raw_tiff(entries, bytes(500)))
    real = zlib.compress(bytes(80_000_000), 9)
    entries = {**PLAIN, 256: (LONG, 1, 9000), 257: (LONG, 1, 9000), 259: (SHORT, 1, 8),
               278: (LONG, 1, 9000), 279: (LONG, 1, len(real))}  # fmt: skip
    yield Case(
        "bomb", "one strip that unpacks", "scene", raw_tiff(entries, bytes(200 - 122) + real), True
    )


def broken_headers(_: Path) -> Iterator[Case]:
    for tag in PLAIN:
        for what, entry in (("missing", None), ("huge", (LONG, 1, 2**32 - 1)), ("zero", (SHORT, 1, 0)),
                            ("many", (LONG, 2**31, 0)), ("of no type", (77, 1, 5))):  # fmt: skip
            entries = (
                {**PLAIN, tag: entry} if entry else {k: v for k, v in PLAIN.items() if k != tag}
            )
            yield Case(
                "broken header", f"tag {tag} {what}", "scene", raw_tiff(entries, bytes(500)), True
            )
    loop = bytearray(raw_tiff(PLAIN, bytes(500)))
    loop[10 + 12 * len(PLAIN) : 14 + 12 * len(PLAIN)] = struct.pack("<I", 8)
    yield Case("broken header", "directories in a circle", "scene", bytes(loop), True)
    for start in (0, 1, 7, 2**31, 2**32 - 1):
        yield Case(
            "broken header",
            f"directory at {start}",
            "scene",
            struct.pack("<2sHI", b"II", 42, start) + bytes(99),
        )
    for compression in (
        2,
        3,
        4,
        5,
        6,
        7,
        8,
        9,
        10,
        34661,
        34712,
        34887,
        34925,
        50000,
        50001,
        50002,
        65000,
    ):
        entries = {**PLAIN, 259: (SHORT, 1, compression)}
        yield Case(
            "broken header",
            f"compression {compression}",
            "scene",
            raw_tiff(entries, np.random.default_rng(2).bytes(500)),
            True,
        )


def disguised(planted: Path) -> Iterator[Case]:
    place, folder = str(planted), str(planted.parent)
    names = ("byte.tif", "x.vrt")
    source = "<SourceFilename relativeToVRT='0'>{}</SourceFilename>"
    for target in (place, f"/vsicurl/file://{place}", f"/vsisubfile/0_100,{place}", "/etc/passwd",
                   "/proc/self/environ", f"zip:{place}", f"/vsizip/{place}", f"GTIFF_DIR:1:{place}",
                   "/vsicurl/http://127.0.0.1:9/x", f"{folder}/secret.tif"):  # fmt: skip
        for kind in ("SimpleSource", "ComplexSource", "KernelFilteredSource"):
            band = f"<VRTRasterBand dataType='Byte' band='1'><{kind}>{source.format(target)}<SourceBand>1</SourceBand></{kind}></VRTRasterBand>"
            yield Case(
                "disguised VRT",
                f"{kind} {target}",
                "scene",
                f"<VRTDataset rasterXSize='20' rasterYSize='20'>{band}</VRTDataset>".encode(),
            )
        raw = (
            f"<VRTDataset rasterXSize='20' rasterYSize='20'><VRTRasterBand dataType='Byte' band='1' subClass='VRTRawRasterBand'>"
            f"{source.format(target)}<ImageOffset>0</ImageOffset><PixelOffset>1</PixelOffset><LineOffset>20</LineOffset></VRTRasterBand></VRTDataset>"
        )
        yield Case("disguised VRT", f"raw {target}", "scene", raw.encode())
    python = "<VRTDataset rasterXSize='2' rasterYSize='2'><VRTRasterBand dataType='Byte' band='1' subClass='VRTDerivedRasterBand'><PixelFunctionLanguage>Python</PixelFunctionLanguage><PixelFunctionType>f</PixelFunctionType><PixelFunctionCode>import os; os.system('true')</PixelFunctionCode></VRTRasterBand></VRTDataset>"
    yield Case("disguised VRT", "python", "scene", python.encode())
    del names


def other_drivers(planted: Path) -> Iterator[Case]:
    place = str(planted)
    texts = {
        "WMS": "<GDAL_WMS><Service name='TMS'><ServerUrl>http://127.0.0.1:9/${z}</ServerUrl></Service><DataWindow><SizeX>9</SizeX><SizeY>9</SizeY></DataWindow></GDAL_WMS>",
        "WMS of a file": f"<GDAL_WMS><Service name='TMS'><ServerUrl>file://{place}</ServerUrl></Service></GDAL_WMS>",
        "WCS": "<WCS_GDAL><ServiceURL>http://127.0.0.1:9/?</ServiceURL><CoverageName>a</CoverageName></WCS_GDAL>",
        "WMTS": "<GDAL_WMTS><GetCapabilitiesUrl>http://127.0.0.1:9/</GetCapabilitiesUrl></GDAL_WMTS>",
        "MRF": f"<MRF_META><Raster><Size x='9' y='9' c='1'/><DataFile>{place}</DataFile></Raster></MRF_META>",
        "MRF of a URL": "<MRF_META><CachedSource><Source>/vsicurl/http://127.0.0.1:9/a</Source></CachedSource><Raster><Size x='9' y='9' c='1'/></Raster></MRF_META>",
        "ENVI": f"ENVI\nsamples = 9\nlines = 9\nbands = 1\ndata file = {place}\n",
        "ISIS": f"Object = IsisCube\n ^Core = {place}\nEnd_Object\nEnd\n",
        "PDS": f"PDS_VERSION_ID = PDS3\n^IMAGE = \"{place}\"\nEND\n",
        "PDS4": f"<Product_Observational><File_Area_Observational><File><file_name>{place}</file_name></File></File_Area_Observational></Product_Observational>",
        "STACIT": '{"type":"FeatureCollection","stac_version":"1.0.0","features":[{"type":"Feature","assets":{"a":{"href":"http://127.0.0.1:9/a.tif"}}}]}',
        "STACTA": '{"stac_extensions":["https://stac-extensions.github.io/tiled-assets/v1.0.0/schema.json"],"asset_templates":{"a":{"href":"http://127.0.0.1:9/"}}}',
        "GTI": f"<GDALTileIndexDataset><IndexDataset>{place}</IndexDataset></GDALTileIndexDataset>",
        "DIMAP": f"<Dimap_Document><Data_Access><Data_File><DATA_FILE_PATH href='{place}'/></Data_File></Data_Access></Dimap_Document>",
        "Sentinel-2": f"<n1:Level-1C_User_Product>{place}</n1:Level-1C_User_Product>",
        "SAFE": f"<xfdu:XFDU><dataObject><byteStream><fileLocation href='{place}'/></byteStream></dataObject></xfdu:XFDU>",
        "derived": f"DERIVED_SUBDATASET:AMPLITUDE:{place}",
        "HTTP": f"http://127.0.0.1:9/{place}",
        "AAIGrid": "ncols 2\nnrows 2\nxllcorner 0\nyllcorner 0\ncellsize 1\n1 2\n3 4\n",
        "XYZ": "0 0 1\n1 0 1\n0 1 1\n1 1 1\n",
        "XPM": '/* XPM */ static char *a[] = {"1 1 1 1"," c #000000"," "};',
        "map": f"OziExplorer Map Data File Version 2.2\n\n{place}\n",
        "GeoRSS": "<rss xmlns:georss='http://www.georss.org/georss'/>",
        "OGR VRT": f"<OGRVRTDataSource><OGRVRTLayer name='a'><SrcDataSource>{place}</SrcDataSource></OGRVRTLayer></OGRVRTDataSource>",
        "pipeline": json.dumps({"type": "gdal_streamed_alg", "command_line": f"gdal raster pipeline ! read {place} ! write x.tif"}),
        "KML overlay": f"<kml><GroundOverlay><Icon><href>{place}</href></Icon></GroundOverlay></kml>",
    }  # fmt: skip
    for name, text in texts.items():
        yield Case("other driver", name, "scene", text.encode())
    for driver in ("PNG", "JPEG", "GIF", "BMP", "ENVI", "HFA", "PCIDSK", "NITF", "SGI", "RMF"):
        yield from _real_file(driver)


def _real_file(driver: str) -> Iterator[Case]:
    try:
        with MemoryFile() as file:
            with file.open(driver=driver, width=32, height=32, count=1, dtype="uint8") as raster:
                raster.write(np.arange(1024, dtype="uint8").reshape(1, 32, 32))
            content = bytes(file.getbuffer())
    except rasterio.errors.RasterioError:
        return  # this build cannot write it
    if content:
        yield Case("other driver", f"real {driver}", "scene", content)


def tags_that_name_files(planted: Path) -> Iterator[Case]:
    secret = str(planted.parent / "secret.tif")
    targets = (secret, str(planted), "/vsicurl/http://127.0.0.1:9/a.tif", "http://127.0.0.1:9/a.tif",
               f"/vsisubfile/0,{secret}", f"GTIFF_DIR:1:{secret}", "/etc/passwd")  # fmt: skip
    for target in targets:
        for space, values in (
            ("OVERVIEWS", {"OVERVIEW_FILE": target}),
            ("GEOLOCATION", {"X_DATASET": target, "Y_DATASET": target, "X_BAND": "1", "Y_BAND": "1",
                             "PIXEL_OFFSET": "0", "LINE_OFFSET": "0", "PIXEL_STEP": "1", "LINE_STEP": "1"}),
            ("SUBDATASETS", {"SUBDATASET_1_NAME": target, "SUBDATASET_1_DESC": "x"}),
            ("RPC", {"HEIGHT_OFF": "0", "RPC_DEM": target}),
            ("xml:VRT", {"x": f"<VRTDataset><SourceFilename>{target}</SourceFilename></VRTDataset>"}),
            ("IMAGE_STRUCTURE", {"COMPRESSION_REVERSIBILITY": target}),
            ("", {"TIFFTAG_DOCUMENTNAME": target, "AREA_OR_POINT": target}),
        ):  # fmt: skip
            yield Case(
                "tags that name files",
                f"{space} {target}",
                "scene",
                tiff(tags={space: values}),
                harmless=True,
            )


def places(_: Path) -> Iterator[Case]:
    for value in (float("nan"), float("inf"), 1e300, 1e15, 0.0, 1e-300):
        for part in range(6):
            grid = [30.0, 0.0, 500_000.0, 0.0, -30.0, 5_300_000.0]
            grid[part] = value
            yield from _placed(f"{value} at {part}", transform=rasterio.Affine(*grid))
    for crs in ("EPSG:4326", "EPSG:3857", "EPSG:4978", "EPSG:5773", "EPSG:3413", "EPSG:3031", "EPSG:27700",
                "+proj=longlat +nadgrids=/etc/passwd", "+proj=merc +geoidgrids=/etc/passwd",
                'LOCAL_CS["x",UNIT["metre",1]]', 'ENGCRS["x",EDATUM["x"],CS[Cartesian,2],AXIS["a",east],AXIS["b",north],LENGTHUNIT["m",1]]',
                "+proj=laea +lat_0=999", "+proj=geos +h=1", "+proj=ob_tran +o_proj=longlat +o_lat_p=0", "+proj=utm +zone=60",
                "+proj=gnom +lat_0=90", "+proj=nsper +h=1"):  # fmt: skip
        yield from _placed(f"CRS {crs[:60]}", crs=crs)


def _placed(name: str, **grid: Any) -> Iterator[Case]:
    try:
        yield Case("no place on earth", name, "scene", tiff(**grid), harmless=True)
    except Exception:
        return  # this build cannot write it


def names(_: Path) -> Iterator[Case]:
    content = tiff()
    for number, name in enumerate(BAD_NAMES):
        yield Case("names", name, "scene", content, harmless=True)
        if number % 2:
            yield Case(
                "names of areas",
                name,
                "area",
                json.dumps(mapping(shapely.box(1, 1, 2, 2))).encode(),
                True,
            )


BAD_NAMES = (
    "", " ", ".", "..", "../../etc/passwd", "..\\..\\x", "/etc/passwd", "C:\\x.tif", "a\0b.tif", "a\nb.tif",
    "a\r\nX: y.tif", "\u202egnp.tif", "x" * 300 + ".tif", "x" * 5000, "<script>alert(1)</script>.tif",
    "${7*7}.tif", "{{7*7}}.tif", "%s%n.tif", "'; DROP TABLE scenes; --.tif", '".tif', "`id`.tif", "$(id).tif",
    "|id.tif", "/vsicurl/http://127.0.0.1:9/a.tif", "GTIFF_DIR:1:x.tif", "NETCDF:x:y", "con", "nul.tif",
    "é\u0301.tif", "🛰.tif", "a/../../b.tif", "....//b.tif", "%2e%2e%2fx.tif", "-rf", "--help",
    "~root", "file:///etc/passwd", "a;b.tif", "a=b.tif", "\x7f.tif", "\x1b[31m.tif",
)  # fmt: skip


def area_files(_: Path) -> Iterator[Case]:
    texts = {
        "empty": b"", "text": b"hello", "no json": b"{", "deep": b'{"a":' * 200_000, "deep list": b"[" * 500_000,
        "number": b"{}", "nan": b'{"type":"Polygon","coordinates":[[[NaN,0],[1,0],[1,1],[NaN,0]]]}',
        "infinite": b'{"type":"Polygon","coordinates":[[[1e999,0],[1,0],[1,1],[1e999,0]]]}',
        "utf16": '{"type":"Polygon"}'.encode("utf-16"), "nul": b'{"type":"\0"}', "gpkg": b"SQLite format 3\0" + bytes(99),
        "shp alone": b"\0\0\x27\x0a" + bytes(96), "zip of nothing": _zip({}), "zip bomb": lambda: _zip({"a.shp": bytes(300_000_000)}),
        "zip up": _zip({"../../a.shp": b"\0\0\x27\x0a", "../../a.shx": b""}), "two": _zip({"a.shp": b"", "b.shp": b""}),
        "encrypted": b"PK\3\4\x14\0\1\0" + bytes(60), "kml entity": b'<!DOCTYPE kml [<!ENTITY a "b">]><kml>&a;</kml>',
        "laughs": b'<!DOCTYPE kml [<!ENTITY a "1"><!ENTITY b "&a;&a;&a;">]><kml>&b;</kml>',
        "xxe": b'<!DOCTYPE kml [<!ENTITY a SYSTEM "file:///etc/passwd">]><kml><name>&a;</name></kml>',
        "dtd": b'<!DOCTYPE kml SYSTEM "http://127.0.0.1:9/x.dtd"><kml/>', "deep kml": b"<kml>" + b"<a>" * 100_000,
        "link": b"<kml><NetworkLink><Link><href>http://127.0.0.1:9/a.kml</href></Link></NetworkLink></kml>",
        "gml": b"<gml:FeatureCollection xmlns:gml='http://www.opengis.net/gml'/>", "gpx": b"<gpx/>", "svg": b"<svg/>",
        "topojson": b'{"type":"Topology","objects":{}}', "esri": b'{"rings":[[[0,0],[1,1],[1,0],[0,0]]],"wkid":4326}',
        "crs of a file": b'{"type":"Polygon","crs":{"properties":{"name":"+proj=longlat +nadgrids=/etc/passwd"}},"coordinates":[[[0,0],[1,0],[1,1],[0,0]]]}',
        "crs of a list": b'{"type":"Polygon","crs":{"properties":{"name":[1]}},"coordinates":[[[0,0],[1,0],[1,1],[0,0]]]}',
        "unknown crs": b'{"type":"Polygon","crs":{"properties":{"name":"EPSG:0"}},"coordinates":[[[0,0],[1,0],[1,1],[0,0]]]}',
    }  # fmt: skip
    for name, content in texts.items():
        yield Case("area files", name, "area", content)
    for name, geometry in shapes():
        yield Case("shapes in files", name, "area", _later(geometry), name in ODD)


def _zip(members: Mapping[str, bytes]) -> bytes:
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return raw.getvalue()


def ring(count: int, radius: float = 1.0, jitter: float = 0.0) -> list[list[float]]:
    random = np.random.default_rng(SEED)
    turn = np.linspace(0, 2 * math.pi, count, endpoint=False)
    reach = radius * (1 - jitter * random.random(count))
    points = np.round(np.column_stack([11 + reach * np.cos(turn), 47 + reach * np.sin(turn)]), 7)
    return [*points.tolist(), points[0].tolist()]


def scribble(count: int) -> list[list[float]]:
    corner = np.array([11.0, 47.0])
    points = np.round(corner + np.random.default_rng(SEED).random((count, 2)), 6).tolist()
    return [*points, points[0]]


def _later(value: Any) -> Callable[[], bytes]:
    return lambda: json.dumps(value).encode()


@lru_cache(maxsize=1)
def shapes() -> list[tuple[str, Any]]:
    return list(_shapes())


def _shapes() -> Iterator[tuple[str, Any]]:
    """Areas that are no good, as GeoJSON values."""
    polygon: Callable[[Any], dict[str, Any]] = lambda rings: {
        "type": "Polygon",
        "coordinates": rings,
    }
    yield "bow tie", polygon([[[0, 0], [2, 2], [2, 0], [0, 2], [0, 0]]])
    yield (
        "hole outside",
        polygon([[[0, 0], [1, 0], [1, 1], [0, 0]], [[5, 5], [6, 5], [6, 6], [5, 5]]]),
    )
    yield "nested", {"type": "MultiPolygon", "coordinates": [[ring(4)], [ring(4, 0.5)]]}
    yield "flat", polygon([[[0, 0], [1, 1], [2, 2], [0, 0]]])
    yield "point as ring", polygon([[[1, 1], [1, 1], [1, 1], [1, 1]]])
    yield "across the antimeridian", polygon([[[170, 0], [190, 0], [190, 5], [170, 5], [170, 0]]])
    yield "beyond the pole", polygon([[[0, 80], [10, 80], [10, 95], [0, 80]]])
    yield "latitude first, far", polygon([[[47, 111], [48, 111], [48, 112], [47, 111]]])
    yield "metres", polygon([[[500_000, 5e6], [5e5 + 9, 5e6], [5e5 + 9, 5e6 + 9], [500_000, 5e6]]])
    yield "huge numbers", polygon([[[1e300, 0], [1e301, 1], [0, 1e300], [1e300, 0]]])
    yield "scribble of 20,000", polygon([scribble(20_000)])
    yield "scribble of 99,000", polygon([scribble(99_000)])
    yield "1,000,000 vertices", polygon([ring(1_000_000)])
    yield (
        "201,000 in parts",
        {"type": "MultiPolygon", "coordinates": [[ring(3000, jitter=0.5)] for _ in range(67)]},
    )
    for kind, place in (("Point", [1, 1]), ("LineString", [[0, 0], [1, 1]]), ("MultiPoint", [[0, 0]]),
                        ("MultiLineString", [[[0, 0], [1, 1]]])):  # fmt: skip
        yield kind, {"type": kind, "coordinates": place}
    yield "GeometryCollection", {"type": "GeometryCollection", "geometries": [polygon([ring(4)])]}
    for name, coordinates in {
        "none": None, "empty": [], "empty ring": [[]], "text": "abc", "number": 5, "mixed": [[["a", "b"]]],
        "two points": [[[0, 0], [1, 1]]], "open": [[[0, 0], [1, 0]]], "one number": [[[0], [1], [2], [0]]],
        "nulls": [[[None, None], [1, 1], [2, 2], [None, None]]], "objects": [{"a": 1}], "true": [[True, False]],
        "ragged": [[[0, 0], [1, 0, 5], [1, 1], [0, 0]]], "deep": [[[[[[[[0, 0]]]]]]]], "five": [[[0, 0, 0, 0, 0]]],
        "texts": [[["0", "0"], ["1", "0"], ["1", "1"], ["0", "0"]]], "big": [[[10**400, 0], [1, 0], [1, 1], [10**400, 0]]],
    }.items():  # fmt: skip
        yield f"coordinates: {name}", polygon(coordinates)
    yield "unknown type", {"type": "Circle", "coordinates": [0, 0]}
    yield "no type", {"coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]}
    yield "type is a list", {"type": ["Polygon"], "coordinates": []}
    yield "type is a number", {"type": 3}
    for name, features in {
        "none": None,
        "empty": [],
        "texts": ["a"],
        "nulls": [None],
        "object": {},
        "no geometry": [{"type": "Feature"}],
    }.items():
        yield f"features: {name}", {"type": "FeatureCollection", "features": features}
    yield "feature of nothing", {"type": "Feature", "geometry": None}
    yield (
        "feature of a feature",
        {"type": "Feature", "geometry": {"type": "Feature", "geometry": None}},
    )
    yield "grid of strips", {"type": "FeatureCollection", "features": [
        {"type": "Feature", "geometry": mapping(box)} for box in crossing_strips(3000)]}  # fmt: skip
    deep: Any = []
    for _ in range(300):
        deep = [deep]
    yield "deep", polygon(deep)


ODD = ("coordinates: texts",)
"""Shapes that are read for what they mean."""


def crossing_strips(count: int) -> Iterator[Any]:
    """So many crossings that to join them takes minutes."""
    for step in range(count):
        at = step / count
        yield shapely.box(10, 40 + at, 11, 40 + at + 0.4 / count)
        yield shapely.box(10 + at, 40, 10 + at + 0.4 / count, 41)


def areas(_: Path) -> Iterator[Case]:
    for name, geometry in shapes():
        for field in ("aoi", "exclude"):
            content = partial(_request, **{field: geometry})
            yield Case("areas", f"{field}: {name}", "request", content, name in ODD)
    for name in ("bow tie", "scribble of 20,000", "grid of strips", "flat", "metres"):
        geometry = dict(shapes())[name]
        yield Case(
            "areas to repair", name, "request", _request(aoi=geometry, repair=True), harmless=True
        )
    good = mapping(shapely.box(11, 47, 12, 48))
    for crs in ("", "EPSG:0", "nonsense", "+proj=longlat +nadgrids=/etc/passwd", "+init=/etc/passwd:root",
                "http://127.0.0.1:9/crs", "file:///etc/passwd", "x" * 100_000, "EPSG:4326\0", "\ud800", 5, [], {}):  # fmt: skip
        yield Case("CRS of an area", str(crs)[:40], "request", _request(aoi=good, aoi_crs=crs))


def _request(**inputs: Any) -> bytes:
    scene = {"scenes": ["@scene"], "name": "m"} if "exclude" in inputs else {"scene": "@scene"}
    return json.dumps({"inputs": {**scene, **inputs}}).encode()


def parameters(_: Path) -> Iterator[Case]:
    odd: tuple[Any, ...] = (
        None,
        "",
        "x",
        -1,
        0,
        1e999,
        float("nan"),
        2**70,
        [],
        {},
        True,
        "9" * 400,
        ["a"],
        {"href": 1},
        "\ud800",
        "\0",
    )
    for field in (
        "scene",
        "mask",
        "sensor",
        "detector",
        "model",
        "false_alarm_rate",
        "tile_size",
        "seed",
        "ignore",
    ):
        for value in odd:
            yield Case(
                "parameters",
                f"{field}: {str(value)[:30]}",
                "request",
                _request(**{field: value}),
                harmless=True,
            )


def documents(_: Path) -> Iterator[Case]:
    texts = {
        "nothing": b"", "no json": b"{", "list": b"[]", "text": b'"a"', "null": b"null", "deep": b'{"inputs":' * 100_000,
        "deep list": b'{"inputs":{"scene":' + b"[" * 100_000 + b"]" * 100_000 + b"}}", "deep good": b'{"inputs":{"scene":' + b"[" * 900 + b"]" * 900 + b"}}",
        "surrogate": b'{"inputs":{"scene":"\\ud800"}}', "nul": b'{"inputs":{"scene":"\\u0000"}}', "latin": b'{"inputs":{"scene":"\xe9"}}',
        "inputs is a list": b'{"inputs":[]}', "no inputs": b"{}", "huge number": b'{"inputs":{"seed":' + b"9" * 5000 + b"}}",
        "twice": b'{"inputs":{"scene":"a","scene":"b"}}', "utf16": '{"inputs":{}}'.encode("utf-16"), "many": json.dumps({"inputs": {str(i): 1 for i in range(50_000)}}).encode(),
    }  # fmt: skip
    for name, content in texts.items():
        yield Case("documents", name, "request", content)


def paths(planted: Path) -> Iterator[Case]:
    for href in disclosures(planted):
        yield Case("paths", href[:80], "request", _request(scene={"href": href}))


def disclosures(planted: Path) -> Iterator[str]:
    """Ways to name a file that is not to be read."""
    place, folder = str(planted), str(planted.parent)
    wrappers = (
        "{}", "file://{}", "file:{}", "FILE://{}", "//{}", "/.{}", "/proc/self/root{}", "/proc/1/root{}", "/dev/../{}",
        "/tmp/../..{}", "/vsisubfile/0_99,{}", "/vsizip/{}", "/vsizip/{{{}}}", "/vsitar/{}", "/vsigzip/{}", "/vsi7z/{}", "/vsirar/{}",
        "/vsicached?file={}", "/vsisparse/{}", "/vsicrypt/key=x,file={}", "/vsistdin/{}", "/vsimem{}", "/vsicurl/file://{}",
        "/vsicurl?url=file%3A%2F%2F{}", "vrt://{}", "zip://{}", "tar://{}", "GTIFF_DIR:1:{}", "GTIFF_RAW:{}", "NETCDF:{}:a",
        "HDF5:{}://a", "HDF4_SDS:UNKNOWN:{}:0", "DERIVED_SUBDATASET:AMPLITUDE:{}", "SENTINEL2_L1C:{}:10m:EPSG_32632", "JP2OpenJPEG:{}",
        "MBTiles:{}", "GPKG:{}:a", "RASTERLITE:{}", "PDF:1:{}", "STACIT:{}", "GTI:{}", "XYZ:{}", "COG:{}", "/%2e%2e{}", "{}%00.tif", "{}\0.tif",
        "{}/.", "{}//", "{}/../{name}", "\\\\localhost{}", "C:{}", " {}", "{} ", "{}?x", "{}#x", "{};x", "s3://{}", "gs://{}", "https://localhost{}",
        "http://localhost{}", "ftp://localhost{}", "data:image/tiff;base64,{}", "~{}", "${{HOME}}{}", "$(cat {})", "`cat {}`", "|cat {}",
    )  # fmt: skip
    for wrapper in wrappers:
        for target in (place, f"{folder}/secret.tif", "/etc/passwd"):
            yield wrapper.format(target, name=planted.name)
    yield from ("", "/", ".", "..", "/dev/stdin", "/dev/zero", "/dev/random", "/dev/fd/0", "/proc/self/environ", "/proc/self/mem",
                "/proc/self/cmdline", "/proc/kcore", "a" * 5000, "/" + "a" * 5000, "/" + "a/" * 3000, "\ud800", "/\ud800", folder)  # fmt: skip


def mutated(_: Path) -> Iterator[Case]:
    whole = tiff(compress="deflate", tiled=True, blockxsize=16, blockysize=16)
    random = np.random.default_rng(SEED)
    for number in range(60):
        content = bytearray(whole)
        for at in random.integers(8, len(content), 12):
            content[at] = random.integers(0, 256)
        yield Case("mutated", str(number), "scene", bytes(content), harmless=True)


MAKERS: Mapping[str, Maker] = {
    maker.__name__: maker
    for maker in (
        not_rasters, truncated, odd_samples, bombs, broken_headers, disguised, other_drivers,
        tags_that_name_files, places, names, area_files, areas, parameters, documents, paths,
        mutated,
    )
}  # fmt: skip


def cases(planted: Path, kinds: Iterable[str] = tuple(MAKERS)) -> Iterator[Case]:
    for kind in kinds:
        yield from MAKERS[kind](planted)
