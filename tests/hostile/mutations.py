"""Real TIFFs with bytes changed, cut out, doubled or swapped: most still open, many misbehave."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from geoanomaly.errors import SceneError
from geoanomaly.sandbox.supervisor import Limits, Sandbox, Subject
from tests.hostile.corpus import SEED, tiff

LAYOUTS = (
    {}, {"compress": "deflate"}, {"compress": "lzw", "predictor": 2},
    {"compress": "deflate", "tiled": True, "blockxsize": 16, "blockysize": 16},
    {"compress": "zstd", "predictor": 3, "dtype": "float32"}, {"compress": "packbits", "dtype": "uint8"},
    {"compress": "jpeg", "dtype": "uint8"}, {"compress": "webp", "dtype": "uint8", "count": 3, "interleave": "pixel"},
    {"compress": "lerc", "dtype": "float32"}, {"compress": "ccittfax4", "dtype": "uint8", "NBITS": 1},
    {"bigtiff": "yes", "count": 3, "interleave": "band"}, {"compress": "lzma"},
)  # fmt: skip
HEADER = 512


def mutations(count: int) -> Iterator[bytes]:
    """The same ones each time."""
    random = np.random.default_rng(SEED)
    seeds = [tiff(48, 48, **options) for options in LAYOUTS]
    for _ in range(count):
        content = bytearray(seeds[random.integers(len(seeds))])
        for _ in range(random.integers(1, 9)):
            _change(content, random)
        yield bytes(content)


def _change(content: bytearray, random: np.random.Generator) -> None:
    # Half of the changes hit the directory, where they do most.
    reach = min(HEADER, len(content)) if random.random() < 0.5 else len(content)
    if reach < 16:
        return
    at, kind = int(random.integers(4, reach)), random.integers(6)
    if kind == 0:
        content[at] = int(random.integers(256))
    elif kind == 1:
        content[at] ^= 1 << int(random.integers(8))
    elif kind == 2:
        odd = (b"\xff\xff\xff\xff", bytes(4), b"\0\0\0\x80", b"\xff\xff\xff\x7f")
        content[at : at + 4] = odd[random.integers(4)]
    elif kind == 3:
        del content[at : at + int(random.integers(1, 64))]
    elif kind == 4:
        content[at:at] = content[at : at + int(random.integers(1, 64))]
    else:
        other = int(random.integers(4, reach))
        content[at : at + 12], content[other : other + 12] = (
            content[other : other + 12],
            content[at : at + 12],
        )


READING = "tests.hostile.reading"


def swallow(box: Sandbox, content: bytes) -> str:
    """Read one from end to end in a child, and say how it ended. box: with the tasks `READING`."""
    with tempfile.TemporaryDirectory(prefix="mutated-") as text:
        folder = Path(text).resolve()
        path, out = folder / "m.tif", folder / "out"
        out.mkdir()
        path.write_bytes(content)
        arguments = {"path": str(path), "folder": str(out), "drivers": ["GTiff", "JP2OpenJPEG"]}
        limits = Limits(2, 20.0, 2**27, readable=[path], writable=[out])
        try:
            box.call("swallow", arguments, limits, Subject("m.tif", "file"))
        except SceneError as error:
            words = str(error)
            if "not a GeoTIFF" in words:
                return "did not open"
            stopped = any(sign in words for sign in ("broke off", "it took", "it needs", "no end"))
            return "were stopped" if stopped else "were refused"
        except OSError as error:
            return f"failed ({error.strerror})"
        return "were read"
