"""Which files a request may name by path."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from geoanomaly.errors import SceneError


def allowed_path(href: str, roots: Sequence[Path], *, field: str) -> Path:
    """The real path of `href`; SceneError unless it is a file inside one of `roots`."""
    shown = repr(href[:200])
    if "://" in href or href.startswith(("/vsi", "\\\\")):
        raise SceneError(
            f"{shown} is an address of a kind of which the service opens none. Give an https:// "
            "address, or the path of a file on the server, or upload the scene (POST /scenes) and "
            "give its id.",
            field=field,
        )
    if not href.startswith("/") or "\0" in href:
        raise SceneError(
            f"{shown} is not an absolute path. Give one that starts with '/', or a scene id.",
            field=field,
        )
    # Links and '..' are followed first: what counts is where the file really lies.
    try:
        path = Path(href).resolve()
        there = path.is_file()
    except (OSError, ValueError, RuntimeError):  # too long, no text, links in a circle
        raise SceneError(f"{shown} is no path.", field=field) from None
    if not is_inside(path, roots):
        where = ", ".join(str(root) for root in roots) or "none is set"
        raise SceneError(
            f"{shown} is outside the folders that requests may name ({where}). "
            "GEOANOMALY_SCENE_ROOTS sets them; uploads are always allowed.",
            field=field,
        )
    if not there:
        raise SceneError(f"There is no file {shown} on the server.", field=field)
    return path


def is_inside(path: Path, roots: Sequence[Path]) -> bool:
    return any(path.resolve().is_relative_to(root.resolve()) for root in roots)
