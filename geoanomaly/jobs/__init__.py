"""The record of jobs and scenes: the one truth about what was asked and how far it is.

The broker only rings; whatever it loses is found again here. `states` says which
moves are legal, `tables` is the schema, `store` the only writer.
"""

from geoanomaly.jobs.records import Judgement, Lease, Remark, SceneRecord, Transition, Verdict
from geoanomaly.jobs.store import JobStore

__all__ = ["JobStore", "Judgement", "Lease", "Remark", "SceneRecord", "Transition", "Verdict"]
