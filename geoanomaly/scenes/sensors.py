"""What is known of a sensor: band names, physical units, nodata, domain and how to show it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from geoanomaly.errors import ParameterError, SceneError


@dataclass(frozen=True)
class Sensor:
    """A kind of raster.

    layouts: known band orders, by band count; empty = any count.
    scale, offset: digital number -> physical value, for 16-bit products without
        their own; 8-bit quicklooks keep their numbers.
    nodata: value that means "no data" in 16-bit products that do not say so.
    log: work on the logarithm (speckle is multiplicative).
    """

    name: str
    title: str
    layouts: tuple[tuple[str, ...], ...] = ()
    scale: float = 1.0
    offset: float = 0.0
    nodata: float | None = None
    log: bool = False

    def band_names(self, count: int, *, field: str) -> tuple[str, ...]:
        """Names of `count` bands; SceneError when the sensor has no such layout."""
        if not self.layouts:
            return tuple(f"band {i}" for i in range(1, count + 1))
        for layout in self.layouts:
            if len(layout) == count:
                return layout
        known = "; ".join(f"{len(names)}: {' '.join(names)}" for names in self.layouts)
        raise SceneError(
            f"{count} bands are no layout of {self.name} (known: {known}). "
            "Name the bands in the file as the sensor does, or use the sensor 'generic'.",
            field=field,
        )


_S2_13 = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
_S2_12 = tuple(name for name in _S2_13 if name != "B10")
_S2_10 = tuple(name for name in _S2_12 if name not in ("B01", "B09"))
_S2_6 = ("B02", "B03", "B04", "B08", "B11", "B12")
_S2_4 = ("B02", "B03", "B04", "B08")

SENSORS: Mapping[str, Sensor] = {
    sensor.name: sensor
    for sensor in (
        Sensor(
            "sentinel-2-l2a",
            "Sentinel-2 L2A surface reflectance",
            layouts=(_S2_13, _S2_12, _S2_10, _S2_6, _S2_4, ("B04", "B03", "B02")),
            scale=1e-4,
            nodata=0,
        ),
        Sensor(
            "landsat-c2-l2",
            "Landsat 4-9 Collection 2 surface reflectance",
            layouts=(
                ("coastal", "blue", "green", "red", "nir08", "swir16", "swir22"),
                ("blue", "green", "red", "nir08", "swir16", "swir22"),
                ("blue", "green", "red", "nir08"),
                ("red", "green", "blue"),
            ),
            scale=2.75e-5,
            offset=-0.2,
            nodata=0,
        ),
        Sensor(
            "sar",
            "SAR backscatter (log domain)",
            layouts=(("VV", "VH"), ("HH", "HV"), ("VV",), ("HH",), ("HH", "HV", "VH", "VV")),
            log=True,
        ),
        Sensor("rgb", "RGB photograph", layouts=(("red", "green", "blue"),)),
        Sensor("rgbn", "RGB + near infrared", layouts=(("red", "green", "blue", "nir"),)),
        Sensor("generic", "n-band raster"),
    )
}

ROLES: Mapping[str, tuple[str, ...]] = {
    "blue": ("B02", "blue"),
    "green": ("B03", "green"),
    "red": ("B04", "red"),
    "nir": ("B08", "B8A", "nir08", "nir"),
    "swir1": ("B11", "swir16"),
    "swir2": ("B12", "swir22"),
}
"""A part of the spectrum -> names that bands of it have, the best first."""

_WAYS: Mapping[str, tuple[str, str, str]] = {
    "true colour": ("red", "green", "blue"),
    "false colour": ("nir", "red", "green"),
    "short-wave infrared": ("swir2", "nir", "red"),
}


def band_of(role: str, names: Sequence[str]) -> int | None:
    """0-based index of the band that has a role of `ROLES`, or None."""
    return next((names.index(name) for name in ROLES[role] if name in names), None)


def sensor_named(name: str) -> Sensor:
    """The sensor of that name; ParameterError names those that exist."""
    if name not in SENSORS:
        raise ParameterError(
            f"{name!r} is not a sensor. Known: {', '.join(SENSORS)}.", field="sensor"
        )
    return SENSORS[name]


_S2_NAME = re.compile(r"B(\d{1,2}|8A)(?:[_ -].*)?")


def standard_names(names: Sequence[str | None]) -> tuple[str | None, ...]:
    """Band names as the layouts spell them, for files that say `B2` or `B02_blue`.

    `B2` alone is anybody's second band: it is read as Sentinel-2's where the file
    has all bands of one of its layouts.
    """
    found = [_S2_NAME.fullmatch(name or "") for name in names]
    if not all(found):
        return tuple(names)
    padded = tuple(f"B{match[1].zfill(2)}" for match in found if match)
    written_so = all(
        (name or "").startswith(full) for name, full in zip(names, padded, strict=True)
    )
    whole = any(set(padded) == set(layout) for layout in (_S2_13, _S2_12, _S2_10, _S2_6, _S2_4))
    return padded if written_so or whole else tuple(names)


FLAG_BANDS = ("SCL", "QA_PIXEL")
"""Bands that say what a pixel shows (Sentinel-2, Landsat); `geoanomaly.scenes.masks` reads them."""


def flag_kind(name: str | None) -> str | None:
    """The entry of `FLAG_BANDS` that a band name means, or None."""
    return next((kind for kind in FLAG_BANDS if (name or "").strip().upper() == kind), None)


def water_bands(names: Sequence[str]) -> tuple[int, int] | None:
    """0-based indexes of green and of the infrared that tells water best, or None."""
    green = band_of("green", names)
    for infrared in (band_of("swir1", names), band_of("nir", names)):
        if green is not None and infrared is not None:
            return green, infrared
    return None


def guess_sensor(
    names: Sequence[str | None], dtype: str, resolution_m: float | None, *, alpha: bool
) -> str:
    """The likeliest sensor of a file, from its band names, type and pixel size.

    names: band descriptions without alpha; resolution_m: None when unknown.
    Names count when all bands have one of their own.
    Anything that is not clear is "generic", which treats all bands alike.
    """
    count = len(names)
    given = {name for name in standard_names(names) if name}
    if len(given) < count:
        given = set()
    if given and given <= set(_S2_13):
        return "sentinel-2-l2a"
    if given and given <= {name for s in SENSORS["landsat-c2-l2"].layouts for name in s}:
        return "landsat-c2-l2" if given - {"red", "green", "blue"} else "rgb"
    if given and given <= {"VV", "VH", "HH", "HV"}:
        return "sar"
    if given == {"red", "green", "blue", "nir"}:
        return "rgbn"
    if dtype == "uint8" and count == 3:
        return "rgb"
    if dtype == "uint8" and count == 4 and not alpha:
        return "rgbn"
    if dtype in ("uint16", "int16") and resolution_m is not None:
        if count in (10, 12, 13) and 9.5 < resolution_m < 20.5:
            return "sentinel-2-l2a"
        if count in (6, 7) and 29.5 < resolution_m < 30.5:
            return "landsat-c2-l2"
    return "generic"


def display_bands(names: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Ways to show a scene: title -> 1-based (red, green, blue) band indexes, or one grey band.

    names: of the bands in file order, as `Sensor.band_names` or the file gives them. The
    first way is the default. Bands of unknown names are shown in reverse, because
    satellite products begin with blue.
    """
    if len(names) < 3:
        return {"grey": (1,)}
    found = {title: [band_of(role, names) for role in roles] for title, roles in _WAYS.items()}
    known = {
        title: tuple(band + 1 for band in bands if band is not None)
        for title, bands in found.items()
        if None not in bands
    }
    if known:
        return known
    first: dict[str, tuple[int, ...]] = {"first bands": (3, 2, 1)}
    return first | ({"false colour": (4, 3, 2)} if len(names) > 3 else {})
