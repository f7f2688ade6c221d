"""Where a demo may live: a folder that is new or empty, or one that a demo left and none uses now.

`--state` is typed by hand and `--fresh` throws away: what no demo made is refused, never touched.
"""

import contextlib
import errno
import fcntl
import os
import re
import shutil
import time
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

from sandbox.demo.house import CONFIG, CONFIG_DRAFT, LOG, POLL_S, STATE, DemoFailed

MONTH = "month"
LEFT = (CONFIG, CONFIG_DRAFT, STATE, LOG, MONTH, "stripe-key", "stripe-signing", "*.kubeconfig")
"""What a demo leaves, finished or killed anywhere; anything else is somebody's own."""
LEAVES_S = 5.0
"""For the daemon of a demo that was killed a moment ago: it ends with it, but not at once."""
ROOM_MIN_BYTES = 32 << 20
"""Two segments of PostgreSQL's log: with less it ends, whatever it said on its way."""
FULL_BYTES = 1 << 20
"""With less, a demo that still runs stores nothing more: its hours would fail and be tried for long."""

_OURS = re.compile(r'state_folder = ".*state"\nloopback_clusters = true\n')
"""How the settings begin that make_house writes."""


def prepare(folder: Path, *, anew: bool) -> None:
    """Make the demo's folder where it is missing, emptied if `anew`; DemoFailed if it is not ours."""
    try:
        with contextlib.ExitStack() as stack:
            for home in (folder, folder / MONTH) if anew else (folder,):
                _refuse_strange(home, anew=anew)
                stack.enter_context(_alone(home))
            if anew and folder.exists():
                _clear(folder)
        _make_private(folder)
    except OSError as fault:
        raise cannot_live(folder, fault) from None


def cannot_live(folder: Path, fault: OSError | UnicodeError) -> DemoFailed:
    if isinstance(fault, UnicodeError):
        return DemoFailed(
            f"{str(folder)!a} has a name that is not UTF-8. Name another folder: --state DIR."
        )
    if is_no_room(fault):
        return no_room(folder)
    return DemoFailed(
        f"A demo cannot live in {folder}: {fault.strerror}. Name a folder that you may write to:"
        " --state DIR."
    )


def is_no_room(fault: OSError) -> bool:
    return fault.errno in (errno.ENOSPC, errno.EDQUOT)


def no_room(folder: Path) -> DemoFailed:
    return DemoFailed(
        f"There is no room on the disk of {folder}. Make room and start it again, or give it a"
        " folder elsewhere: --state DIR."
    )


def lacks_room(folder: Path, least_bytes: int = ROOM_MIN_BYTES) -> bool:
    """Say whether the disk is as good as full: a server that ran out of it gave back its last."""
    with contextlib.suppress(OSError):
        return shutil.disk_usage(folder).free < least_bytes
    return False


def busy(folder: Path) -> DemoFailed | None:
    """Return the refusal where a daemon works in this folder at this moment."""
    try:
        with _alone(folder, wait_s=0):
            return None
    except OSError:
        return None
    except DemoFailed as fault:
        return fault


@contextlib.contextmanager
def _alone(home: Path, wait_s: float | None = None) -> Iterator[None]:
    """Hold the lock that a daemon in this folder would hold; where there is none, none ran."""
    try:
        lock = os.open(home / STATE / "daemon.lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        yield
        return
    try:
        _take(lock, home, LEAVES_S if wait_s is None else wait_s)
        yield
    finally:
        os.close(lock)


def _take(lock: int, home: Path, wait_s: float) -> None:
    deadline_s = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline_s:
                owner = os.pread(lock, 20, 0).decode().strip() or "?"
                raise DemoFailed(
                    f"Another demo runs in {home} (its daemon is process {owner}). Stop that one,"
                    " or give this one a folder of its own: --state DIR."
                ) from None
            time.sleep(POLL_S)
        else:
            return


def _refuse_strange(folder: Path, *, anew: bool) -> None:
    try:
        names = {each.name for each in folder.iterdir()}
    except FileNotFoundError:
        return
    if names and not _left_by_a_demo(folder, names):
        raise DemoFailed(
            f"{folder} is not empty, and no demo made it: nothing was touched. Name a new folder,"
            " or an empty one: --state DIR."
        )
    strange = sorted(name for name in names if not any(fnmatch(name, ours) for ours in LEFT))
    if anew and strange:
        raise DemoFailed(
            f"{folder} holds {strange[0]}, which no demo made: nothing was thrown away. Move it"
            " elsewhere first, or name another folder: --state DIR."
        )


def _left_by_a_demo(folder: Path, names: set[str]) -> bool:
    if names <= {MONTH, CONFIG_DRAFT}:
        # A month lives below; its own folder is looked at where it is used.
        return True
    with contextlib.suppress(FileNotFoundError):
        text = (folder / CONFIG).read_text(encoding="utf-8", errors="replace")
        return _OURS.match(text) is not None
    return False


def _clear(folder: Path) -> None:
    """Empty the folder, the settings last: by them a half emptied one is still known as ours."""
    for each in sorted(folder.iterdir(), key=lambda entry: entry.name == CONFIG):
        if each.is_dir() and not each.is_symlink():
            shutil.rmtree(each)
        else:
            each.unlink()


def _make_private(folder: Path) -> None:
    """Make what is missing of this path, for its user alone; what is there keeps its mode."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    for each in reversed(missing):
        each.mkdir(mode=0o700, exist_ok=True)
    if not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
