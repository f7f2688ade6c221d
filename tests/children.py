"""Which processes this one has started and not yet seen end, read from /proc in microseconds."""

import time
from pathlib import Path

GRACE_S = 2.0
POLL_S = 0.02
_TASKS = Path("/proc/self/task")
_KEPT = b"multiprocessing.resource_tracker"  # Python's own; it ends with us


def living() -> set[int]:
    """Return the pids of our children, those that have ended and wait to be reaped left out."""
    pids = {int(pid) for task in _TASKS.iterdir() for pid in _children(task)}
    return {pid for pid in pids if _alive(pid)}


def left_since(before: set[int]) -> dict[int, str]:
    """Return pid and command of children that are new and do not end within the grace."""
    deadline_s = time.monotonic() + GRACE_S
    while new := living() - before:
        if time.monotonic() > deadline_s:
            return {pid: _command(pid).decode(errors="replace") for pid in new}
        time.sleep(POLL_S)
    return {}


def _children(task: Path) -> list[str]:
    try:
        return (task / "children").read_text().split()
    except OSError:
        return []  # the thread has ended meanwhile


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z" and _KEPT not in _command(pid)


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").strip()
    except OSError:
        return b""
