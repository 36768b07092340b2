"""The scratch store: finished cores as Zarr chunks, one a tile, whole or not there at all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import google_crc32c
import numpy as np
import zarr
from numcodecs import Blosc
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, Crc32cCodec
from zarr.core.array_spec import ArrayConfigLike
from zarr.core.sync import sync

from tiling.grid import TileGrid
from tiling.types import Tile

# Scores hardly compress, but tiles of nodata do: the fastest there is. The checksum tells the
# chunks that a power cut left torn, and costs less than to wait for the disk with each.
_CODECS = (BloscCodec(cname="lz4", clevel=1, shuffle="shuffle", typesize=4), Crc32cCodec())
_BLOSC = Blosc(cname="lz4", clevel=1, shuffle=Blosc.SHUFFLE, typesize=4)

TORN = (ValueError, RuntimeError)
"""What reading a torn chunk raises: the checksum, or the decompressor."""

# An all-NaN core must leave a chunk behind, else it would be done again after each restart.
_CONFIG: ArrayConfigLike = {"write_empty_chunks": True}


@dataclass(frozen=True)
class TileStore:
    """A recipe for the store at `location`; the array is opened where it is used.

    location: a folder, or the URL of one in an object store (s3://...), which needs fsspec's
    package for it. A chunk that exists is done: a restarted job goes on from there. A
    chunk is written under a temporary name and renamed; an object appears whole anyway.
    bands: of each core, (band, y, x); None = cores are (y, x).
    """

    location: Path | str
    bands: int | None = None

    def create(self, grid: TileGrid) -> None:
        """Make the array unless it is there already, for this very grid."""
        if not self.exists():
            _opened.cache_clear()
            zarr.create_array(
                self.location,
                shape=(*self._leading, *grid.geobox.shape),
                chunks=(*self._leading, *grid.core_shape),
                dtype=np.float32,
                fill_value=np.nan,
                compressors=_CODECS,
                config=_CONFIG,
            )
        array = self.open()
        found = tuple(array.shape), array.chunks
        wanted = (*self._leading, *grid.geobox.shape), (*self._leading, *grid.core_shape)
        if found != wanted:
            raise ValueError(
                f"{self.location} holds tiles of another grid: {found[0]} in {found[1]}, "
                f"wanted {wanted[0]} in {wanted[1]}; remove it"
            )

    def exists(self) -> bool:
        try:
            self.open()
        except FileNotFoundError:
            return False
        return True

    def open(self) -> zarr.Array[Any]:
        return zarr.open_array(self.location, mode="r+").with_config(_CONFIG)

    def write(self, tile: Tile, core: NDArray[np.float32]) -> None:
        array = _opened(self)
        if isinstance(self.location, str):
            array[..., *tile.core] = core
            return
        if core.shape != array.chunks:  # at the edges of the grid
            whole = np.full(array.chunks, np.nan, np.float32)
            whole[..., : core.shape[-2], : core.shape[-1]] = core
            core = whole
        _write_whole(self.location / self._key(array, tile), _encoded(core))

    def read(self, tile: Tile) -> NDArray[np.float32]:
        """A tile's core, NaN where there is none."""
        array = _opened(self)
        if isinstance(self.location, str):
            return np.asarray(array[..., *tile.core], dtype=np.float32)
        height, width = tile.shape
        try:
            packed = (self.location / self._key(array, tile)).read_bytes()
        except FileNotFoundError:
            return np.full((*self._leading, height, width), np.nan, np.float32)
        return _decoded(packed).reshape(array.chunks)[..., :height, :width]

    def cores(self, grid: TileGrid) -> Iterator[tuple[Tile, NDArray[np.float32]]]:
        """Every tile with its core, in order."""
        return ((tile, self.read(tile)) for tile in grid)

    def missing(self, tiles: Iterable[Tile]) -> list[Tile]:
        """Those that are still to do; the chunks that are there are read once, to be sure."""
        array = self.open()
        return [tile for tile in tiles if not self._done(array, tile)]

    def _done(self, array: zarr.Array[Any], tile: Tile) -> bool:
        key = self._key(array, tile)
        if isinstance(self.location, str):
            # An object is whole, and reading it would fetch it.
            return bool(sync((array.store_path / key).exists()))
        if not (self.location / key).exists():
            return False
        try:
            self.read(tile)
        except TORN:
            return False
        return True

    def _key(self, array: zarr.Array[Any], tile: Tile) -> str:
        place = (*(0 for _ in self._leading), *tile.index)
        return array.metadata.encode_chunk_key(place)

    @property
    def _leading(self) -> tuple[int, ...]:
        """What comes before (y, x) in the array's shape."""
        return () if self.bands is None else (self.bands,)


@lru_cache(maxsize=4)
def _opened(store: TileStore) -> zarr.Array[Any]:
    """Not anew for each tile, which in an object store is a request more."""
    return store.open()


# Zarr writes a chunk by a loop and a pool of threads, which hand it to one another half a dozen
# times. Each time they ask threads that score for the interpreter: 5 % of a job. So chunks of a
# folder are packed and written by the thread that has them, byte by byte as Zarr does it, and read
# by the one that wants them.


def _encoded(chunk: NDArray[np.float32]) -> bytes:
    """A full chunk, as `_CODECS` pack it."""
    packed = _BLOSC.encode(np.ascontiguousarray(chunk, dtype="<f4"))
    checksum: int = google_crc32c.value(packed)
    return bytes(packed) + checksum.to_bytes(4, "little")


def _decoded(chunk: bytes) -> NDArray[np.float32]:
    """The inverse of `_encoded`, flat; `TORN` if it is no such thing."""
    packed, checksum = chunk[:-4], int.from_bytes(chunk[-4:], "little")
    if google_crc32c.value(packed) != checksum:
        raise ValueError(f"a chunk of {len(chunk)} bytes does not fit its checksum")
    return np.frombuffer(_BLOSC.decode(packed), "<f4")


def _write_whole(path: Path, chunk: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{uuid4().hex}.partial")
    try:
        partial.write_bytes(chunk)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
