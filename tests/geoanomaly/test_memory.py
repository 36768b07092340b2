"""A job's memory does not grow with its scene."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.windows import Window

from tests.rasters import NORTH_UP, UTM, texture

BLOCK = 512


def sparse_scene(path: Path, side: int) -> Path:
    """Of 10 bands; on the diagonal 6 blocks that have data, elsewhere none that is stored."""
    data = texture(0, 10, BLOCK, BLOCK).astype(np.uint16) + 1
    with rasterio.open(
        path, "w", driver="GTiff", width=side, height=side, count=10, dtype="uint16", nodata=0,
        crs=UTM, transform=NORTH_UP, tiled=True, blockxsize=BLOCK, blockysize=BLOCK,
        SPARSE_OK=True,
    ) as raster:  # fmt: skip
        for corner in np.linspace(0, side // BLOCK - 1, 6).astype(int) * BLOCK:
            raster.write(data, window=Window(corner, corner, BLOCK, BLOCK))
    return path


MEASURED = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
"""Started by a small process, because the peak of one that is started counts its starter's."""


def peak_mib(scene: Path, out: Path) -> float:
    """Of `geoanomaly detect`."""
    command = [Path(sys.executable).with_name("geoanomaly"), "detect", scene, "--detector", "rx"]
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, *command, "--out", out],
        env={**os.environ, "GEOANOMALY_THREADS": "2"},
        check=True,
        capture_output=True,
        text=True,
    )
    with rasterio.open(out / "heatmap.tif") as raster:
        assert np.isfinite(raster.read(1, window=Window(0, 0, 9, 9))).all()
    return int(done.stdout) / 1024


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the unit is another")
def test_peak_memory_is_the_same_for_ten_times_the_pixels(tmp_path: Path) -> None:
    small = peak_mib(sparse_scene(tmp_path / "small.tif", 3072), tmp_path / "small")
    large = peak_mib(sparse_scene(tmp_path / "large.tif", 9728), tmp_path / "large")
    assert large < 1.1 * small
    assert large < 1536
