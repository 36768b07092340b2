"""The web's only door to the workers: ring for a job, by the name of the task.

Imports nothing that a worker needs; never raises for a broker that is away, because
the job is already in the store and the sweep of the first worker finds it there.
"""

from __future__ import annotations

import hashlib
import logging
import tempfile
from functools import lru_cache
from pathlib import Path

from celery import Celery

from geoanomaly.settings import Settings

RUN_TASK = "geoanomaly.run"
QUEUE = "geoanomaly"
TIMEOUT_SECONDS = 1.0
AT_ONCE = {"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0}

log = logging.getLogger(__name__)


def socket_path(settings: Settings) -> Path:
    """Where the embedded broker of a data folder listens.

    In the temporary folder and not in the data folder: the path of a unix socket is
    limited to 104 characters (macOS), and a data folder may be on a disk without sockets.
    """
    digest = hashlib.sha256(str(settings.data_dir.resolve()).encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"geoanomaly-{digest}" / "broker.sock"


def broker_url(settings: Settings) -> str:
    """The one decision: the broker of the settings, else the embedded one."""
    return settings.broker_url or f"redis+socket://{socket_path(settings)}"


def ring(job_id: str, settings: Settings) -> bool:
    """Tell the workers of a job; False (and a line in the log) when the broker is away."""
    try:
        app = client(broker_url(settings))
        # One more try: the pooled connection may be older than the broker.
        app.send_task(RUN_TASK, args=[job_id], queue=QUEUE, retry=True, retry_policy=AT_ONCE)
    except Exception as error:
        # Whatever it is (away, its disk full, loading its file): the job is in the store.
        log.warning("Broker away, job %s waits for the next sweep: %s", job_id, error)
        return False
    return True


def waiting(settings: Settings) -> int | None:
    """How many rings no worker has heard yet; None when the broker is away."""
    try:
        with client(broker_url(settings)).connection_for_write() as connection:
            # Turns the transport's own errors into OperationalError, which `channel` does not.
            connection.ensure_connection(**AT_ONCE)
            queue = connection.channel().queue_declare(QUEUE, durable=True, auto_delete=False)
            return int(queue.message_count)
    except Exception as error:
        log.warning("Broker away: %s", error)
        return None


@lru_cache(maxsize=8)
def client(url: str) -> Celery:
    """A producer that gives up within seconds, so that a POST never hangs on the broker."""
    app = Celery("geoanomaly", broker=url, set_as_current=False)
    app.conf.update(
        task_serializer="json",
        accept_content=["json"],
        # Nobody reads results here: the job store has them.
        task_ignore_result=True,
        broker_connection_timeout=TIMEOUT_SECONDS,
        # One attempt: the default goes on retrying for a long time while the caller waits.
        broker_connection_max_retries=1,
        broker_transport_options={
            "socket_connect_timeout": TIMEOUT_SECONDS,
            "socket_timeout": TIMEOUT_SECONDS,
            **AT_ONCE,
        },
    )
    return app
