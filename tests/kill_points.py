"""Kills a process at its N-th system call that changes something, counted over all its threads.

``strace --inject=...:signal=KILL:when=N`` counts each thread by itself, so what only a worker's finisher
does would be passed over; and a new strace and a new interpreter for every N cost half a second. This is the
same (ptrace, a kill on entry: the call does not happen) for a child that was just forked.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

_TRACEME, _SETOPTIONS, _SYSCALL, _GET_SYSCALL_INFO = 0, 0x4200, 24, 0x420E
#: Stops at system calls are told apart, new threads are traced (child processes are not), nobody outlives us.
_OPTIONS: Final = 1 | 8 | 0x100000
_AT_SYSCALL: Final = signal.SIGTRAP | 0x80
_WALL: Final = 0x40000000

#: Numbers of the calls that change files or tell others something.
_NUMBERS: Final = {
    "x86_64": {
        "write": 1, "pwrite64": 18, "writev": 20, "pwritev": 296, "pwritev2": 328, "fsync": 74, "fdatasync": 75,
        "truncate": 76, "ftruncate": 77, "rename": 82, "renameat": 264, "renameat2": 316, "mkdir": 83, "mkdirat": 258,
        "rmdir": 84, "unlink": 87, "unlinkat": 263, "link": 86, "linkat": 265, "openat": 257, "flock": 73,
        "sendto": 44, "sendmsg": 46, "fallocate": 285, "copy_file_range": 326, "sendfile": 40,
    },
    "aarch64": {
        "write": 64, "pwrite64": 68, "writev": 66, "pwritev": 70, "pwritev2": 287, "fsync": 82, "fdatasync": 83,
        "truncate": 45, "ftruncate": 46, "renameat": 38, "renameat2": 276, "mkdirat": 34, "unlinkat": 35, "linkat": 37,
        "openat": 56, "flock": 32, "sendto": 206, "sendmsg": 211, "fallocate": 47, "copy_file_range": 285,
        "sendfile": 71,
    },
}  # fmt: skip
_OF_A_DESCRIPTOR: Final = (
    "write", "pwrite64", "writev", "pwritev", "pwritev2", "fsync", "fdatasync", "ftruncate", "flock", "sendto",
    "sendmsg",
)  # fmt: skip


class _Info(ctypes.Structure):
    """``struct ptrace_syscall_info``."""

    _fields_ = (
        ("op", ctypes.c_uint8),
        ("pad", ctypes.c_uint8 * 3),
        ("arch", ctypes.c_uint32),
        ("instruction_pointer", ctypes.c_uint64),
        ("stack_pointer", ctypes.c_uint64),
        ("nr", ctypes.c_uint64),
        ("args", ctypes.c_uint64 * 6),
        ("rest", ctypes.c_uint64 * 2),
    )


_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.restype = ctypes.c_long
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)


def _ptrace(request: int, pid: int, address: int = 0, data: int | None = None) -> None:
    if _libc.ptrace(request, pid, address, data) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


@dataclass
class Ended:
    """How a traced process ended.

    Parameters
    ----------
    calls : int
        Calls that it began, of those that count.
    code : int
        Its exit code; negative for a signal.
    where : str
        The call at which it was killed; empty if it was not.
    """

    calls: int
    code: int
    where: str


def run(body: Callable[[], object], at: int = 0) -> Ended:
    """Run ``body`` in a fork of this process, killed on entry to its ``at``-th call that counts (0: never)."""
    names = {number: name for name, number in _NUMBERS[platform.machine()].items()}
    pid = os.fork()
    if pid == 0:
        try:
            _ptrace(_TRACEME, 0)
            os.kill(os.getpid(), signal.SIGSTOP)
            body()
        finally:
            os._exit(70)
    os.waitpid(pid, 0)
    _ptrace(_SETOPTIONS, pid, 0, _OPTIONS)
    _ptrace(_SYSCALL, pid)
    calls, where, info = 0, "", _Info()
    while True:
        tid, status = os.waitpid(-1, _WALL)
        if os.WIFEXITED(status) or os.WIFSIGNALED(status):
            if tid == pid:
                return Ended(calls, os.waitstatus_to_exitcode(status), where)
            continue
        deliver = os.WSTOPSIG(status)
        try:
            if deliver == _AT_SYSCALL:
                deliver = 0
                _ptrace(_GET_SYSCALL_INFO, tid, ctypes.sizeof(info), ctypes.addressof(info))
                name = names.get(info.nr) if info.op == 1 else None
                if name is not None and _counts(name, info):
                    calls += 1
                    if calls == at:
                        where = _describe(pid, name, info)
                        os.kill(pid, signal.SIGKILL)
                        continue
            elif deliver in (signal.SIGTRAP, signal.SIGSTOP):  # a new thread
                deliver = 0
            _ptrace(_SYSCALL, tid, 0, deliver)
        except ProcessLookupError:  # it was killed meanwhile
            continue


def _counts(name: str, info: _Info) -> bool:
    if name == "openat":
        return bool(info.args[2] & (os.O_CREAT | os.O_TRUNC))
    return name not in _OF_A_DESCRIPTOR or info.args[0] > 2  # what it prints changes nothing


def _describe(pid: int, name: str, info: _Info) -> str:
    if name not in _OF_A_DESCRIPTOR:
        return name
    try:
        return f"{name} {os.readlink(f'/proc/{pid}/fd/{info.args[0]}')}"
    except OSError:
        return name
