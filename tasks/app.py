"""The worker's Celery application: settings in, a configured app out; nothing built at import."""

from __future__ import annotations

from collections.abc import Callable

from celery import Celery

from geoanomaly.settings import Settings
from tasks.queue import QUEUE, RUN_TASK, broker_url


def create_app(settings: Settings, run: Callable[[str], None]) -> Celery:
    """An app whose only task hands the id of a job to `run`."""
    app = Celery("geoanomaly", broker=broker_url(settings), set_as_current=False)
    app.conf.update(
        task_default_queue=QUEUE,
        # JSON only: a pickle from the broker would be code.
        task_serializer="json",
        accept_content=["json"],
        # No result backend: the job store is the result.
        task_ignore_result=True,
        # Late, so that a busy worker holds no second message that an idle one could have.
        # What is delivered twice (visibility timeout, reconnection) finds the lease taken.
        task_acks_late=True,
        worker_prefetch_multiplier=1,
        # Redelivery is the sweep's work, by lease; this only has to be out of its way.
        broker_transport_options={"visibility_timeout": 6 * 3600},
        # A broker that is away, at the start or later, is waited for without end.
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
    )
    app.task(run, name=RUN_TASK, ignore_result=True)
    return app
