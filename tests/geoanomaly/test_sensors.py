"""Sensors: what a file is taken for, and how it is shown."""

from __future__ import annotations

import pytest

from geoanomaly.errors import ParameterError, SceneError
from geoanomaly.scenes.sensors import (
    SENSORS,
    display_bands,
    guess_sensor,
    sensor_named,
    standard_names,
)

S2 = "sentinel-2-l2a"
LANDSAT = "landsat-c2-l2"
S2_12 = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
EARTH_ENGINE = tuple(name.replace("B0", "B") for name in S2_12)

Names = tuple[str | None, ...]


@pytest.mark.parametrize(
    ("names", "dtype", "metres", "sensor"),
    [
        (S2_12, "uint16", 10, S2),
        (("B04", "B03", "B02"), "uint16", None, S2),
        (("B02", "B08"), "float32", None, S2),
        (("B02_blue", "B03_green", "B04_red", "B08_nir", "B11_a", "B12_b"), "uint16", 10, S2),
        (EARTH_ENGINE, "int16", None, S2),
        (("B2", "B3", "B4", "B8"), "uint16", None, S2),
        ((None,) * 12, "uint16", 10, S2),
        ((None,) * 10, "uint16", 20, S2),
        ((None,) * 12, "uint16", 60, "generic"),
        ((None,) * 12, "float32", 10, "generic"),
        ((None,) * 12, "uint16", None, "generic"),
        # Anybody's first bands.
        (("B1", "B2", "B3"), "uint16", 10, "generic"),
        (tuple(f"B{i}" for i in range(1, 9)), "uint16", 3, "generic"),
        (("b1", "b2", "b3"), "uint16", 30, "generic"),
        (("blue", "green", "red", "nir08", "swir16", "swir22"), "uint16", 30, LANDSAT),
        (("SR_B1", "SR_B2", "SR_B3", "SR_B4", "SR_B5", "SR_B6", "SR_B7"), "uint16", 30, LANDSAT),
        ((None,) * 6, "uint16", 30, LANDSAT),
        ((None,) * 6, "uint8", 30, "generic"),
        ((None,) * 6, "uint16", 10, "generic"),
        (("TM1_blue", "TM2_green", "TM3_red", "TM4_nir", "TM5_swir1"), "uint8", 30, "generic"),
        (("VV", "VH"), "float32", 10, "sar"),
        (("HH", "HV"), "float32", 10, "sar"),
        (("VV",), "float32", 10, "sar"),
        (("HH", "HV", "VH", "VV"), "float32", 10, "sar"),
        ((None, None), "float32", 10, "generic"),
        (("red", "green", "blue"), "uint8", 0.1, "rgb"),
        (("R", "G", "B"), "uint8", 10, "rgb"),
        ((None,) * 3, "uint8", None, "rgb"),
        ((None,) * 3, "uint16", None, "generic"),
        ((None,) * 4, "uint8", 5, "rgbn"),
        (("red", "green", "blue", "nir"), "uint16", 5, "rgbn"),
        (("blue", "green", "red", "nir", "rededge"), "uint16", None, "generic"),
        ((None,), "uint8", 10, "generic"),
        ((None,) * 205, "uint16", 4, "generic"),
        # Names count only when all bands have one of their own.
        (("VV", None, None), "float32", 10, "generic"),
        (("B02", "B03", "B02", "B03", "B02"), "uint16", 10, "generic"),
    ],
)  # fmt: skip
def test_what_a_file_is_taken_for(
    names: Names, dtype: str, metres: float | None, sensor: str
) -> None:
    assert guess_sensor(names, dtype, metres, alpha=False) == sensor


def test_four_bytes_with_transparency_are_no_infrared() -> None:
    assert guess_sensor((None,) * 3, "uint8", 0.3, alpha=True) == "rgb"
    assert guess_sensor((None,) * 4, "uint8", 0.3, alpha=True) == "generic"


def test_names_are_written_as_the_layouts_write_them() -> None:
    assert standard_names(EARTH_ENGINE) == S2_12
    assert standard_names(("B02_blue", "B8A nir", "B12-swir")) == ("B02", "B8A", "B12")
    for other in (("B1", "B2"), ("b02",), ("B02", None), ("B123",), ("NDVI", "B02")):
        assert standard_names(other) == other


@pytest.mark.parametrize("sensor", SENSORS.values(), ids=SENSORS)
def test_a_layout_is_found_by_its_count_and_has_names_of_its_own(sensor) -> None:
    for layout in sensor.layouts:
        assert len(set(layout)) == len(layout)
        assert len(sensor.band_names(len(layout), field="after")) == len(layout)


def test_layouts_give_names_and_others_are_refused() -> None:
    assert SENSORS[S2].band_names(12, field="after") == S2_12
    assert SENSORS["generic"].band_names(3, field="after") == ("band 1", "band 2", "band 3")
    with pytest.raises(
        SceneError, match=r"5 bands are no layout of rgb .*3: red.*generic"
    ) as caught:
        SENSORS["rgb"].band_names(5, field="before")
    assert caught.value.field == "before"


def test_an_unknown_sensor_is_told_the_known_ones() -> None:
    with pytest.raises(
        ParameterError, match=r"'spot' is not a sensor.*sentinel-2-l2a.*generic"
    ) as e:
        sensor_named("spot")
    assert e.value.field == "sensor"


def test_only_radar_is_worked_on_in_the_log_domain() -> None:
    assert [name for name, sensor in SENSORS.items() if sensor.log] == ["sar"]


@pytest.mark.parametrize(
    ("sensor", "count", "default", "others"),
    [
        (S2, 13, (4, 3, 2), {"false colour": (8, 4, 3), "short-wave infrared": (13, 8, 4)}),
        (S2, 12, (4, 3, 2), {"false colour": (8, 4, 3), "short-wave infrared": (12, 8, 4)}),
        (S2, 10, (3, 2, 1), {"false colour": (7, 3, 2), "short-wave infrared": (10, 7, 3)}),
        (S2, 6, (3, 2, 1), {"false colour": (4, 3, 2), "short-wave infrared": (6, 4, 3)}),
        (S2, 3, (1, 2, 3), {}),
        (LANDSAT, 7, (4, 3, 2), {"false colour": (5, 4, 3), "short-wave infrared": (7, 5, 4)}),
        (LANDSAT, 6, (3, 2, 1), {"false colour": (4, 3, 2), "short-wave infrared": (6, 4, 3)}),
        ("rgb", 3, (1, 2, 3), {}),
        ("rgbn", 4, (1, 2, 3), {"false colour": (4, 1, 2)}),
        ("sar", 2, (1,), {}),
        ("sar", 4, (3, 2, 1), {"false colour": (4, 3, 2)}),
        ("generic", 1, (1,), {}),
        ("generic", 3, (3, 2, 1), {}),
        ("generic", 200, (3, 2, 1), {"false colour": (4, 3, 2)}),
    ],
)
def test_colours(
    sensor: str, count: int, default: tuple[int, ...], others: dict[str, tuple[int, ...]]
) -> None:
    names = sensor_named(sensor).band_names(count, field="scene")
    first, *rest = display_bands(names).items()
    assert first[1] == default
    assert dict(rest) == others


def test_colours_follow_the_names_and_not_the_order() -> None:
    assert display_bands(("B12", "B08", "B04", "B03", "B02")) == {
        "true colour": (3, 4, 5),
        "false colour": (2, 3, 4),
        "short-wave infrared": (1, 2, 3),
    }
