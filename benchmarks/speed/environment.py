"""An environment for the peers: this one, with what only they need installed beside it."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from importlib.metadata import version
from pathlib import Path

SHARED = ("torch", "rasterio", "numpy", "dask", "xarray", "geopandas", "shapely")
NEEDED = ("torchgeo>=0.7", "rioxarray>=0.18")


def peers(folder: Path) -> Path:
    """The interpreter; made once, about a minute."""
    python = folder / "bin" / "python"
    done = folder / ".done"
    if done.exists():
        return python
    print("installing the peers from PyPI", file=sys.stderr, flush=True)
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    site = subprocess.run(
        [str(python), "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    # What is installed here is used there, so that both run the same network on the same torch.
    (Path(site) / "parent.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    # Of these alone: with all of ours, pip would go back to a TorchGeo of years ago.
    shared = folder / "shared.txt"
    shared.write_text("".join(f"{name}=={version(name)}\n" for name in SHARED))
    subprocess.run(
        [str(python), "-m", "pip", "install", "--quiet", "-c", str(shared), *NEEDED], check=True
    )
    done.touch()
    return python
