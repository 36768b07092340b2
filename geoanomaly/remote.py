"""Folders in object stores: written through fsspec, read by GDAL."""

from __future__ import annotations

import re
from pathlib import Path

from geoanomaly.errors import ParameterError

_URL = re.compile(r"^(s3|gs|az|abfs):/+(?=[^/])")


def remote_url(path: Path | str) -> str | None:
    """The URL of an object store's folder; None for a local path. A `Path` lost one slash."""
    text = str(path)
    found = _URL.match(text)
    return f"{found[1]}://{text[found.end() :]}" if found else None


def raster_href(path: Path | str) -> str:
    """How GDAL calls a raster, which has names of its own for object stores."""
    text = str(path)
    if text.startswith(("http:/", "https:/")):
        return re.sub(r":/+", "://", text, count=1)
    found = _URL.match(text)
    return f"/vsi{found[1]}/{text[found.end() :]}" if found else text


def remove(url: str) -> None:
    """Everything below a URL's folder, if there is any; `OSError` if the store does not do it."""
    from fsspec.core import url_to_fs

    try:
        store, root = url_to_fs(url)
        store.invalidate_cache()
        store.rm(root, recursive=True)
    except FileNotFoundError:
        return
    except Exception as error:  # Each store has its own, of the network and of access.
        raise OSError(f"{url} cannot be removed: {error}") from error


def upload(folder: Path, url: str) -> None:
    """Every file of a folder, which is flat, to a URL's folder; `ParameterError` if it may not."""
    try:
        from fsspec.core import url_to_fs

        store, root = url_to_fs(url)
    except ImportError as error:
        raise ParameterError(
            f"{url} needs a package that is not installed ({error}): pip install 'geoanomaly[s3]'.",
            field="out",
        ) from None
    try:
        for file in sorted(folder.iterdir()):
            store.put_file(str(file), f"{root}/{file.name}")
    except (OSError, ValueError) as error:
        raise ParameterError(f"{url} cannot be written: {error}.", field="out") from None
