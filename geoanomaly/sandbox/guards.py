"""What a child gives up before it opens a stranger's file: network, programs, files, resources.

All of it comes from the Linux kernel: limits (setrlimit), a filter of system calls
(seccomp) and rights on files (Landlock). Elsewhere only the limits hold, and the list
of GDAL drivers (`supervisor.environment`).
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import signal
import stat
import struct
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 22, 38
SECCOMP_MODE_FILTER = 2

# System calls that reading a raster never needs, by number on (x86-64, arm64).
DENIED = {
    "socket": (41, 198), "socketpair": (53, 199), "connect": (42, 203), "bind": (49, 200),
    "listen": (50, 201), "accept": (43, 202), "accept4": (288, 242), "sendto": (44, 206),
    "sendmsg": (46, 211), "sendmmsg": (307, 269), "recvfrom": (45, 207), "recvmsg": (47, 212),
    "execve": (59, 221), "execveat": (322, 281), "fork": (57, None), "vfork": (58, None),
    "kill": (62, 129), "tkill": (200, 130), "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424), "pidfd_getfd": (438, 438), "ptrace": (101, 117),
    "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "io_uring_setup": (425, 425),
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39),
    "chroot": (161, 51), "pivot_root": (155, 41), "keyctl": (250, 219), "add_key": (248, 217),
    "request_key": (249, 218), "open_by_handle_at": (304, 265), "prlimit64": (302, 261),
}  # fmt: skip
CLONE3 = 435  # on both: refused as unknown, so that the C library falls back to clone
ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
X32_BIT = 0x40000000

# Classic BPF: load a word of the call's description, jump if equal or not less, answer.
LOAD, IF_EQUAL, IF_NOT_LESS, ANSWER = 0x20, 0x15, 0x35, 0x06
ALLOW, REFUSE, KILL = 0x7FFF0000, 0x00050000, 0x80000000
EPERM, ENOSYS = 1, 38

LANDLOCK_CREATE, LANDLOCK_ADD, LANDLOCK_RESTRICT = 444, 445, 446
READ_FILE, READ_DIR = 1 << 2, 1 << 3
FILE_RIGHTS = 1 << 0 | 1 << 1 | READ_FILE | 1 << 14 | 1 << 15
"""Those that a single file can have: execute, write, read, truncate, device control."""


def limit(memory: int, cpu: int, file_bytes: int) -> None:
    """memory: bytes beyond what is mapped now; cpu: seconds; file_bytes: largest file written."""
    if sys.platform == "linux":  # macOS knows the limit and does not keep it
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        _set(resource.RLIMIT_AS, pages * resource.getpagesize() + memory)
    # The signal of the softer limit tells what happened.
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu + 1))
    _set(resource.RLIMIT_FSIZE, file_bytes)
    _set(resource.RLIMIT_NOFILE, 64)
    _set(resource.RLIMIT_CORE, 0)


def _set(what: int, value: int) -> None:
    resource.setrlimit(what, (value, value))


def die_with_parent() -> None:
    """SIGKILL for this process when the one that forked it ends, by whatever death."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def confine(libraries: Iterable[str], readable: Iterable[str], writable: Iterable[str]) -> None:
    """From here on no network, no program, and no file but below the given paths.

    readable, writable: real paths, without links; what became a link meanwhile is an OSError.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    # Both kernels' guards ask for it: no set-uid program can give rights back.
    _check(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    if landlock_version():
        _restrict_files(libc, libraries, readable, writable)
    if platform.machine() in ARCHITECTURES:
        _filter_calls(libc)


def landlock_version() -> int:
    """0 where the kernel has none."""
    if sys.platform != "linux":
        return 0
    return max(0, int(ctypes.CDLL(None).syscall(LANDLOCK_CREATE, None, 0, 1)))


def active() -> tuple[str, ...]:
    """Which guards this machine has, for `doctor`."""
    found = ["limits of memory, time and file size"]
    if sys.platform == "linux" and platform.machine() in ARCHITECTURES:
        found.append("no network and no programs (seccomp)")
    if version := landlock_version():
        found.append(f"no other files (Landlock {version})")
    return tuple(found)


def missing() -> tuple[str, ...]:
    lacks_filter = sys.platform != "linux" or platform.machine() not in ARCHITECTURES
    parts = ("seccomp",) if lacks_filter else ()
    return parts if landlock_version() else (*parts, "Landlock")


def _check(answer: int, what: str) -> None:
    if answer < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _restrict_files(
    libc: ctypes.CDLL,
    libraries: Iterable[str],
    readable: Iterable[str],
    writable: Iterable[str],
) -> None:
    version = landlock_version()
    # Rights that older versions do not know must not be named: 13 first, then one at 2, 3 and 5.
    count = 13 + (version >= 2) + (version >= 3) + (version >= 5)
    every = (1 << count) - 1
    network = 0b11 if version >= 4 else 0
    scoped = 0b11 if version >= 6 else 0
    size = 8 if version < 4 else 16 if version < 6 else 24
    rules = struct.pack("=QQQ", every, network, scoped)[:size]
    ruleset = libc.syscall(LANDLOCK_CREATE, rules, ctypes.c_size_t(size), 0)
    _check(ruleset, "Landlock")
    reading = READ_FILE | READ_DIR
    for path in libraries:
        _allow(libc, ruleset, path, reading)
    for path in readable:
        _allow(libc, ruleset, path, reading, real=True)
    for path in writable:
        _allow(libc, ruleset, path, every, real=True)
    _check(libc.syscall(LANDLOCK_RESTRICT, ruleset, 0), "Landlock")
    os.close(ruleset)


def _allow(libc: ctypes.CDLL, ruleset: int, path: str, rights: int, *, real: bool = False) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)  # type: ignore[attr-defined,unused-ignore]
    except FileNotFoundError:
        return  # nothing to allow
    # The path was checked before; the right goes to what was opened, wherever a link leads later.
    if real and str(Path(f"/proc/self/fd/{place}").readlink()) != path:
        raise OSError(errno.ELOOP, f"{path} is not what it was")
    if not stat.S_ISDIR(os.fstat(place).st_mode):
        rights &= ~READ_DIR & FILE_RIGHTS
    rule = struct.pack("=Qi", rights, place)
    _check(libc.syscall(LANDLOCK_ADD, ruleset, 1, rule, 0), f"Landlock, {path}")
    os.close(place)


def _filter_calls(libc: ctypes.CDLL) -> None:
    code, column = ARCHITECTURES[platform.machine()]
    numbers = [entry[column] for entry in DENIED.values()]
    program = _program(code, [number for number in numbers if number is not None])
    text = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(text))
    _check(libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, header, 0, 0), "seccomp")


def _program(architecture: int, denied: Sequence[int]) -> bytes:
    """A filter that refuses the given calls, and any call in another architecture's numbering."""
    lines = [
        _line(LOAD, 4),  # the architecture
        _line(IF_EQUAL, architecture, 1, 0),
        _line(ANSWER, KILL),
        _line(LOAD, 0),  # the call's number
        _line(IF_NOT_LESS, X32_BIT, 0, 1),
        _line(ANSWER, KILL),
        _line(IF_EQUAL, CLONE3, 0, 1),
        _line(ANSWER, REFUSE | ENOSYS),
    ]
    for number in denied:
        lines += [_line(IF_EQUAL, number, 0, 1), _line(ANSWER, REFUSE | EPERM)]
    return b"".join([*lines, _line(ANSWER, ALLOW)])


def _line(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)
