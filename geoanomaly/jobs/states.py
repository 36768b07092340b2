"""Which moves between states are legal: the one table, and the one check."""

from __future__ import annotations

from collections.abc import Mapping

from geoanomaly.types import JobStatus

LEGAL: Mapping[JobStatus | None, frozenset[JobStatus]] = {
    # A new job.
    None: frozenset({JobStatus.ACCEPTED}),
    # Claimed; cancelled while queued; refused because its attempts are used up.
    JobStatus.ACCEPTED: frozenset({JobStatus.RUNNING, JobStatus.DISMISSED, JobStatus.FAILED}),
    # Given back at shutdown, or taken from a worker that fell silent; ended.
    JobStatus.RUNNING: frozenset(
        {
            JobStatus.ACCEPTED,
            JobStatus.SUCCESSFUL,
            JobStatus.FAILED,
            JobStatus.DISMISSED,
        }
    ),
    JobStatus.SUCCESSFUL: frozenset(),
    JobStatus.FAILED: frozenset(),
    JobStatus.DISMISSED: frozenset(),
}


def check_move(source: JobStatus | None, target: JobStatus) -> None:
    """Raise on a move that the table does not have: a bug here, never a user's mistake."""
    if target not in LEGAL[source]:
        allowed = ", ".join(sorted(LEGAL[source])) or "nothing: it is final"
        raise ValueError(f"A job that is {source} cannot become {target} (allowed: {allowed}).")
