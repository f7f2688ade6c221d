"""A folder in memory for key files that another program opens by name, gone with their use.

They stand in a folder of their own on tmpfs, 0700, one subfolder for each use. A process that is
killed with -9 removes nothing, so each use holds a lock on its subfolder: the kernel drops it with
the process, and the next sweep removes what nobody holds. (A lock, not a process id alone, decides who lives: ids are
reused, and mean nothing in another container. The id stands in the name for people.)
"""

import errno
import fcntl
import os
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from core.errors import SecretFault

LOCK_TRIES_MAX = 8
_OWNER_ONLY = 0o700
_MEMORY_FILE_SYSTEMS = {"tmpfs", "ramfs"}
_RUN = Path("/run/hopsmeter")
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  checked below: ours, 0700, no link


@dataclass(frozen=True, slots=True)
class PrivateFolder:
    """A verified folder; `root` is in memory, belongs to us, and only we may enter it."""

    root: Path

    @contextmanager
    def for_this_use(self) -> Iterator[Path]:
        """Give an empty folder, 0700, for as long as the block runs; then it is gone."""
        path, lock = self._make()
        try:
            yield path
        finally:
            _remove(path, lock)

    def sweep(self) -> int:
        """Remove the subfolders of processes that are gone; return how many."""
        return sum(_remove_if_dead(path) for path in sorted(self.root.iterdir()))

    def _make(self) -> tuple[Path, int]:
        for _ in range(LOCK_TRIES_MAX):
            path = self.root / f"{os.getpid()}-{_start_ticks()}-{secrets.token_hex(4)}"
            path.mkdir(mode=_OWNER_ONLY)
            lock = _lock(path)
            if lock is not None:
                return path, lock
        raise SecretFault(
            f"Folders in {self.root} vanish as soon as they are made. See what else removes them."
        )


def open_private_folder(environ: Mapping[str, str]) -> PrivateFolder:
    """Open (or make) the folder: systemd's RUNTIME_DIRECTORY, /run/hopsmeter, or /dev/shm."""
    runtime = environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    places = [Path(runtime) / "private"] if runtime else []
    places += [_RUN / "private", _SHARED_MEMORY / f"hopsmeter-{os.geteuid()}"]
    for place in places:
        if _in_memory(place.parent) and os.access(place.parent, os.W_OK | os.X_OK):
            return private_folder_at(place)
    raise SecretFault(
        "There is no folder in memory for short-lived keys: none of "
        f"{', '.join(str(place.parent) for place in places)} is on tmpfs and open to user id "
        f"{os.geteuid()}. Set RuntimeDirectory=hopsmeter in the unit, or mount tmpfs on /dev/shm."
    )


def private_folder_at(root: Path) -> PrivateFolder:
    """Open (or make) the folder at `root`; SecretFault if it is not private or not in memory."""
    try:
        root.mkdir(mode=_OWNER_ONLY, exist_ok=True)
        status = root.lstat()
    except OSError as fault:
        raise SecretFault(
            f"The folder {root} for short-lived keys cannot be made: {fault.strerror}. Remove what "
            "stands there, or open its parent to this user."
        ) from None
    wrong = _privacy_fault(status) or ("" if _in_memory(root) else "it is not on tmpfs")
    if wrong:
        raise SecretFault(
            f"The folder {root} for short-lived keys is not used: {wrong}. Remove it, find out who "
            "made it, and start again."
        )
    return PrivateFolder(root)


def _privacy_fault(status: os.stat_result) -> str:
    if stat.S_ISLNK(status.st_mode):
        return "it is a symbolic link"
    if not stat.S_ISDIR(status.st_mode):
        return "it is no folder"
    if status.st_uid != os.geteuid():
        return f"it belongs to user id {status.st_uid}, not to {os.geteuid()}"
    if stat.S_IMODE(status.st_mode) & 0o077:
        return f"others may enter it (mode {stat.S_IMODE(status.st_mode):04o})"
    return ""


def _in_memory(folder: Path) -> bool:
    """Tell whether a folder is on tmpfs: what it holds must not outlive the machine on a disk."""
    try:
        device = folder.stat().st_dev
    except OSError:
        return False
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        mount, _, kind = line.partition(" - ")
        if mount.split(" ", 3)[2] == wanted:
            return kind.split(" ", 1)[0] in _MEMORY_FILE_SYSTEMS
    return False


def _lock(path: Path) -> int | None:
    """Lock a subfolder; None if another holds it, or if it went away meanwhile."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as fault:
        if fault.errno in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}:
            return None
        raise
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # A sweep that came between making and locking has removed it: no name leads to it.
        if os.fstat(descriptor).st_nlink:
            return descriptor
    except BlockingIOError:
        pass
    os.close(descriptor)
    return None


def _remove_if_dead(path: Path) -> bool:
    lock = _lock(path)
    if lock is None:
        return False
    _remove(path, lock)
    return True


def _remove(path: Path, lock: int) -> None:
    try:
        shutil.rmtree(path)
    finally:
        os.close(lock)


def _start_ticks() -> str:
    """Return when this process started, in clock ticks since boot (proc(5), field 22)."""
    # The name of the program, field 2, is in parentheses and may hold blanks and parentheses.
    return Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
