"""How fast the pages are: `python -m benchmarks.pages`, a service of its own and a real browser.

A job list of 1,000, and one finished job whose heatmap has 10,980 pixels a side and 10,000
anomalies. Prints milliseconds: until the page can be used, until the map of the result shows
a first tile, and of single tiles.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import numpy as np
import rasterio.shutil
from odc.geo.geobox import GeoBox
from rasterio.transform import from_origin
from scipy.ndimage import gaussian_filter
from scipy.special import log_ndtr

from benchmarks.speed.scenes import SceneSize, scene
from geoanomaly.jobs import JobStore
from geoanomaly.results.anomalies import trace
from geoanomaly.results.outputs import Threshold, plain_rasters, write_vectors
from geoanomaly.results.rasters import HEATMAP, MASK
from geoanomaly.service import Child, free_port, parts
from geoanomaly.settings import Settings
from geoanomaly.types import Job, JobSpec, Process, Scene
from tiling.grid import TileGrid
from tiling.scratch import TileStore

SIDE, JOBS, TILES, LOADS = 10_980, 1_000, 200, 5


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pages", description=__doc__)
    parser.add_argument("--side", type=int, default=SIDE, help="of the heatmap, in pixels")
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        settings = Settings(data_dir=Path(folder) / "data")
        job = fill(settings, options.side)
        with service(settings) as url:
            found = {**pages(url, job), "tile": tiles(url, job)}
    for name, times in found.items():
        p50, p95 = np.percentile(times, (50, 95))
        print(f"{name:32} median {p50:6.0f} ms   95 % {p95:6.0f} ms   first {times[0]:6.0f} ms")
    return 0


def fill(settings: Settings, side: int) -> Job:
    """A database with many jobs, the last one finished."""
    store = JobStore(settings.database)
    settings.scenes_dir.mkdir(parents=True)
    path = settings.scenes_dir / "scene.tif"
    made = scene(SceneSize(side), settings.data_dir)
    # As the service takes scenes in: with overviews.
    rasterio.shutil.copy(
        made, path, driver="COG", COMPRESS="DEFLATE", LEVEL=1, NUM_THREADS="ALL_CPUS"
    )
    spec = JobSpec(Process.DETECT_ANOMALY, (Scene(str(path), sensor="generic"),))
    for _ in range(JOBS - 1):
        store.dismiss(store.create(spec).id)
    job = store.create(spec)
    lease = store.claim(job.id, "bench", 600, 3)
    assert lease is not None
    out = settings.jobs_dir / job.id
    out.mkdir(parents=True)
    store.succeed(lease, publish(out, settings.scratch_dir, side))
    store.close()
    return job


def publish(out: Path, scratch: Path, side: int) -> tuple[str, ...]:
    """Smooth noise with the tail of a normal distribution, which has thousands of hot places."""
    grid = TileGrid(
        GeoBox((side, side), from_origin(400_000, 5_500_000, 10, 10), "EPSG:32633"), 512
    )
    field = gaussian_filter(np.random.default_rng(0).normal(size=(1024, 1024)), 1.5, mode="wrap")
    surprise = (-log_ndtr(-field / field.std()) / np.log(10)).astype(np.float32)
    store = TileStore(scratch / "noise.zarr")
    store.create(grid)
    for number, tile in enumerate(grid):
        height, width = tile.shape
        store.write(tile, np.roll(surprise, 131 * number, (0, 1))[:height, :width])
    threshold = Threshold(0.01, "generated")
    threads = os.cpu_count() or 1
    with plain_rasters(out, store, grid.geobox, grid, threshold, threads) as rasters:
        rasters.tiles.pack(threads)
    write_vectors(out, trace(out / HEATMAP, out / MASK), grid.geobox.crs)
    tally = rasters.tally
    report = {
        "threshold": {"surprise": threshold.surprise},
        "surprise": {"above": tally.above, "highest": tally.highest},
        "valid": {"pixels": tally.valid},
    }
    (out / "run.json").write_text(json.dumps(report))
    return (HEATMAP, MASK, "anomalies.gpkg", "anomalies.geojson", "run.json")


@contextmanager
def service(settings: Settings) -> Iterator[str]:
    """The web server as `geoanomaly serve` runs it, on a free port; nothing else."""
    port = free_port("127.0.0.1", 0)
    *_, web = parts(settings, "127.0.0.1", port, workers=1)
    server = Child(web, settings)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(url)
        yield url
    finally:
        server.stop()


def _wait(url: str) -> None:
    give_up = time.monotonic() + 60
    while time.monotonic() < give_up:
        try:
            httpx.get(f"{url}/healthz")
            return
        except httpx.TransportError:
            time.sleep(0.1)
    raise SystemExit("the service did not start")


def pages(url: str, job: Job) -> dict[str, list[float]]:
    """Each load in a browser context of its own: nothing is cached."""
    from playwright.sync_api import sync_playwright

    looked_at = (
        ("/ui can be used", "/ui", "body[data-ready]"),
        ("first tile of the map", f"/jobs/{job.id}/map", ".leaflet-tile-loaded"),
        ("table of the result", f"/ui/jobs/{job.id}", "#rows .line"),
    )
    found: dict[str, list[float]] = {name: [] for name, _, _ in looked_at}
    with sync_playwright() as playwright:
        browser = _chromium(playwright)
        for _ in range(LOADS):
            for name, path, wanted in looked_at:
                context = browser.new_context()
                page = context.new_page()
                start = time.perf_counter()
                page.goto(f"{url}{path}", wait_until="domcontentloaded")
                page.locator(wanted).first.wait_for(state="attached")
                found[name].append((time.perf_counter() - start) * 1000)
                context.close()
        browser.close()
    return found


def _chromium(playwright: Any) -> Any:
    from shutil import which

    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    return playwright.chromium.launch(executable_path=which("chromium"), args=options)


def tiles(url: str, job: Job) -> list[float]:
    """Tiles of the heatmap as the map asks for them, at all zoom levels where it is larger."""
    layer = f"{url}/jobs/{job.id}/tiles/heatmap"
    document = httpx.get(f"{layer}/WebMercatorQuad/tilejson.json").json()
    tile = f"{layer}/tiles/WebMercatorQuad"
    west, south, east, north = document["bounds"]
    rng, times = np.random.default_rng(0), []
    with httpx.Client(base_url=url) as client:
        for _ in range(TILES):
            z = int(rng.integers(9, 15))
            x = int((rng.uniform(west, east) + 180) / 360 * 2**z)
            latitude = np.radians(rng.uniform(south, north))
            y = int((1 - np.arcsinh(np.tan(latitude)) / np.pi) / 2 * 2**z)
            start = time.perf_counter()
            client.get(f"{tile}/{z}/{x}/{y}.png").raise_for_status()
            times.append((time.perf_counter() - start) * 1000)
    return times


if __name__ == "__main__":
    sys.exit(main())
