"""Files that arrive in a form: measured while they come in, and written to a folder of ours."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import IO, Any

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.types import Message

from geoanomaly.errors import InputError
from web.problems import TooLargeError

OVERHEAD = 64 * 1024
"""Bytes that a multipart body may have beside its file."""


def limited(request: Request, limit: int) -> Request:
    """The same request, whose body stops with an error behind `limit` bytes."""
    seen = 0

    async def receive() -> Message:
        nonlocal seen
        message = await request.receive()
        seen += len(message.get("body", b""))
        _check_length(seen, limit)
        return message

    # Said beforehand by most clients; a chunked body is counted on the way.
    _check_length(int(request.headers.get("content-length", 0)), limit)
    return Request(request.scope, receive)


def sent_file(form: FormData, error: type[InputError], what: str) -> tuple[IO[bytes], str]:
    """The field `file` and the name that its sender gives it; `error` where there is none."""
    file = form.get("file")
    if not isinstance(file, UploadFile) or not file.filename:
        raise error(f"Send the {what} as a multipart field 'file'.", field="file")
    return file.file, PurePath(file.filename.replace("\\", "/")).name


def save(source: IO[bytes], path: Path) -> Path:
    with path.open("wb") as target:
        shutil.copyfileobj(source, target, 1024 * 1024)
    return path


def file_form(description: str, **texts: Mapping[str, str]) -> dict[str, Any]:
    """What OpenAPI should say of a form that is read by hand.

    A signature with UploadFile would have taken in the whole body before the first
    line of the function could refuse it.
    """
    file = {"type": "string", "format": "binary", "description": description}
    schema = {"type": "object", "required": ["file"], "properties": {"file": file, **texts}}
    return {
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}
    }


def _check_length(length: int, limit: int) -> None:
    if length > limit + OVERHEAD:
        raise TooLargeError(
            f"The upload has {length:,} bytes or more; the limit is {limit:,}. Cut it, or name a "
            "scene on the server by href (GEOANOMALY_MAX_UPLOAD_BYTES is the limit of scenes).",
            field="file",
        )
