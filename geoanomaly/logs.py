"""Log lines of every process: text, or one JSON object each; with the job that they are about."""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from geoanomaly.settings import Settings

_job: ContextVar[str | None] = ContextVar("job", default=None)

TOLD = ("geoanomaly", "tasks", "tiling", "web", "celery", "uvicorn")

SECRET = re.compile(r"(ga_[0-9a-f]{12}_)[A-Za-z0-9_-]{43}|(ticket=[0-9a-f]{12}\.\d+\.)[0-9a-f]{64}")
"""Keys and tickets, whoever wrote them into a message."""


@contextmanager
def about_job(job_id: str | None) -> Iterator[None]:
    """Lines of this thread or task are about that job until the block ends."""
    token = _job.set(job_id)
    try:
        yield
    finally:
        _job.reset(token)


def configure(settings: Settings) -> None:
    """Send everything that this process logs to stderr, in the form of the settings."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if settings.log_format == "json" else TextLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    # What libraries have to say of their own work is of no use to who watches ours.
    root.setLevel(logging.WARNING)
    for name in TOLD:
        logging.getLogger(name).setLevel(logging.INFO)
    for name in ("uvicorn", "uvicorn.access", "celery", "celery.task"):
        logger = logging.getLogger(name)
        if logger.handlers:
            # Its own form would be another one; none means that it was switched off.
            logger.handlers[:] = []
            logger.propagate = True


def without_secrets(text: str) -> str:
    return SECRET.sub(lambda found: f"{found[1] or found[2]}***", text)


class TextLines(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        job = _job.get()
        line = super().format(record)
        return without_secrets(f"{line} [job {job}]" if job and job not in line else line)


class JsonLines(logging.Formatter):
    """time (UTC), level, logger, message; job and error where there are any."""

    converter = staticmethod(time.gmtime)

    def format(self, record: logging.LogRecord) -> str:
        seconds = self.formatTime(record, "%Y-%m-%dT%H:%M:%S")
        values = {
            "time": f"{seconds}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "job": _job.get(),
            "error": self.formatException(record.exc_info) if record.exc_info else None,
        }
        line = {name: value for name, value in values.items() if value is not None}
        return without_secrets(json.dumps(line, ensure_ascii=False, default=str))
