"""`python -m geoanomaly.lifeline MODULE ARG...`: run a module for as long as its parent lives.

Standard input is a pipe whose other end only the parent holds. The parent's end, by
whatever death, SIGKILL included, closes it; the module then gets SIGTERM, and after a
grace period its whole process group gets SIGKILL. A pipe does this on Linux and macOS
alike, where PR_SET_PDEATHSIG is Linux only.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
import time
from collections.abc import Callable

GRACE_SECONDS = 12.0


def watch(descriptor: int, ended: Callable[[], None]) -> None:
    """Call `ended` from a thread when every writer of the pipe is gone."""

    def wait() -> None:
        while os.read(descriptor, 1024):
            pass
        ended()

    threading.Thread(target=wait, name="lifeline", daemon=True).start()


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit("usage: python -m geoanomaly.lifeline MODULE [ARG...], with a pipe as input")
    watch(_take_stdin(), _stop_group)
    module, sys.argv = sys.argv[1], sys.argv[1:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _take_stdin() -> int:
    """Move the pipe out of the way, so that nothing in the module reads it."""
    pipe = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return pipe


def _stop_group() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    # Only the leader of a group of its own may end it: a shell's group has others in it.
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os._exit(1)


if __name__ == "__main__":
    main()
