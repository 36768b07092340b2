"""Python imports this first in processes that have this folder on their path: a clock that jumps.

`CHAOS_CLOCK` names a file with the seconds by which the wall clock is off. libfaketime would
do it for all libraries, but its 0.9.10 makes `time.sleep` of Python 3.11 and newer fail.
"""

import os
import time

_FILE = os.environ["CHAOS_CLOCK"]
_real = time.time


def _shifted() -> float:
    with open(_FILE) as file:  # noqa: PTH123  # pathlib costs every process its import
        return _real() + float(file.read() or 0)


time.time = _shifted
