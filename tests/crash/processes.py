"""Which processes a process has started, read from /proc, and that they are gone."""

import time
from pathlib import Path

GONE_LIMIT_S = 15.0
"""An own PostgreSQL writes its last checkpoint first."""
POLL_S = 0.01

Process = tuple[int, str]
"""Pid and start time: a pid is used again some day."""


def descendants(pid: int) -> list[Process]:
    """Return all that `pid` has started, directly or not, and that still lives."""
    family: list[Process] = []
    waiting = [pid]
    while waiting:
        for child in _children(waiting.pop()):
            begun = _begun(child)
            if begun:
                family.append((child, begun))
                waiting.append(child)
    return family


def await_gone(family: list[Process]) -> None:
    """Wait until none of them lives; AssertionError names those that do."""
    deadline_s = time.monotonic() + GONE_LIMIT_S
    while left := [(pid, _command(pid)) for pid, begun in family if _begun(pid) == begun]:
        assert time.monotonic() < deadline_s, f"they outlived their daemon: {left}"
        time.sleep(POLL_S)


def _children(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(child) for child in task.read_text().split()]
        except OSError:
            continue  # the thread has ended meanwhile
    return found


def _begun(pid: int) -> str:
    """Return the start time of a living process, empty where there is none or only its husk."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except OSError:
        return ""
