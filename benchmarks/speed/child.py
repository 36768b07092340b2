"""One measured run in a process of its own: `python -m benchmarks.speed.child WORK JSON`.

Prints one line of JSON: seconds of the work itself (not of starting Python and importing),
peak resident memory in GiB, and what else the run says.
"""

from __future__ import annotations

import json
import resource
import sys

from geoanomaly.budget import set_limits
from geoanomaly.settings import Settings


def main(work: str, arguments: str) -> None:
    if work != "peer":  # which take what their libraries take
        # As the command does: before any library is imported that reads what it may take.
        set_limits(Settings())
    from benchmarks.speed.works import WORKS

    found = WORKS[work](**json.loads(arguments))
    print(json.dumps({**found, "peak_gib": peak_gib()}))


def peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main(*sys.argv[1:])
