"""The files of an embedded server: where they lie, and what stands in them."""

from dataclasses import dataclass
from pathlib import Path

from core.db.account import Account
from core.db.binaries import Binaries
from core.errors import DatabaseFault

DATABASE = "hopsmeter"
OWNER = "hopsmeter"
SUPERUSER = "postgres"
MAP = "hopsmeter"
IDENT_ALL_SINCE = 16
BUILTIN_LOCALE_SINCE = 17
IO_METHOD_SINCE = 18
LOG_BYTES_MAX = 1_000_000
LOG_TAIL_LINES = 5
PID_READY_LINE = 8
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
"""Nothing of ours: no PG* variable may change what the server does. TZ spares initdb a search."""


@dataclass(frozen=True)
class Wishes:
    """What differs between one server and another."""

    port: int
    tcp: bool
    durable: bool
    connections_max: int


@dataclass(frozen=True)
class Layout:
    """The folder of one server."""

    folder: Path

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def etc(self) -> Path:
        return self.folder / "etc"

    @property
    def run(self) -> Path:
        return self.folder / "run"

    @property
    def lock(self) -> Path:
        return self.folder / "lock"

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    @property
    def endpoint(self) -> Path:
        """Its socket and URL while it runs, for other processes of the same user."""
        return self.folder / "endpoint"

    @property
    def conf(self) -> Path:
        return self.etc / "postgresql.conf"

    @property
    def hba(self) -> Path:
        return self.etc / "pg_hba.conf"

    @property
    def ident(self) -> Path:
        return self.etc / "pg_ident.conf"

    def prepare(self, account: Account) -> None:
        """Make the folders. What we write, the server's account may read but not change."""
        self.folder.chmod(0o711 if account.dropped else 0o700)
        self.etc.mkdir(exist_ok=True)
        self.etc.chmod(0o755)
        account.make_folder(self.run)
        if self.log.exists() and self.log.stat().st_size > LOG_BYTES_MAX:
            self.log.replace(self.log.with_suffix(".log.1"))

    def require_major(self, programs: Binaries) -> None:
        """Raise DatabaseFault unless the data were written by the same major version."""
        found = (self.data / "PG_VERSION").read_text().strip()
        if found != str(programs.major):
            raise DatabaseFault(
                f"The data in {self.folder} were written by PostgreSQL {found}, but the programs "
                f"found are {programs.version} ({programs.folder}). Point "
                f"HOPSMETER_POSTGRES_BIN at the programs of PostgreSQL {found}, or save the data with its pg_dump, move the "
                "folder away and restore into a new one."
            )

    def server_pid(self) -> int | None:
        """Return the pid that PostgreSQL noted, of a server that may be gone; None if none."""
        lines = self._pid_lines()
        return int(lines[0]) if lines and lines[0].isdigit() else None

    def server_ready(self, pid: int) -> bool:
        lines = self._pid_lines()
        return (
            len(lines) >= PID_READY_LINE
            and lines[0] == str(pid)
            and lines[PID_READY_LINE - 1].strip() == "ready"
        )

    def log_tail(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
        return " / ".join(lines) or "it said nothing"

    def _pid_lines(self) -> list[str]:
        try:
            return (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return []


def initdb_options(major: int, *, durable: bool) -> list[str]:
    """Text sorts by code point everywhere: what a locale of the system says may change."""
    options = [f"--username={SUPERUSER}", "--encoding=UTF8", "--data-checksums"]
    options += ["--auth-local=peer", "--auth-host=scram-sha-256", "--no-instructions"]
    if major >= BUILTIN_LOCALE_SINCE:
        options += ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    else:
        options.append("--locale=C.UTF-8")
    if not durable:
        options.append("--no-sync")
    return options


def write(
    layout: Layout, account: Account, major: int, wishes: Wishes, *, etc: str, run: str
) -> None:
    """Write the three files anew; `etc` and `run` are those folders as the server sees them."""
    settings = _settings(major, wishes) | {
        "hba_file": f"{etc}/{layout.hba.name}",
        "ident_file": f"{etc}/{layout.ident.name}",
        "unix_socket_directories": run,
    }
    _write(layout.conf, [f"{name} = {_quote(value)}" for name, value in settings.items()])
    hosts = ["host all all 127.0.0.1/32 scram-sha-256"] if wishes.tcp else []
    _write(layout.hba, [f"local all all peer map={MAP}", *hosts])
    kept = _roles(layout.ident) if major < IDENT_ALL_SINCE else ["all"]
    logins = sorted({"root", account.login})
    _write(layout.ident, [f'{MAP} "{login}" {role}' for login in logins for role in kept])


def append_role(ident: Path, role: str) -> None:
    """Admit one more role for those who are admitted; the server must be told to read it."""
    lines = ident.read_text().splitlines()
    logins = sorted({line.split()[1] for line in lines})
    added = [line for login in logins if (line := f'{MAP} {login} "{role}"') not in lines]
    _write(ident, [*lines, *added])


def _roles(ident: Path) -> list[str]:
    """Return the roles of the file as it stands, so that those admitted stay so."""
    first = [f'"{SUPERUSER}"', f'"{OWNER}"']
    if not ident.exists():
        return first
    admitted = [line.split()[2] for line in ident.read_text().splitlines()]
    return list(dict.fromkeys([*first, *admitted]))


def _settings(major: int, wishes: Wishes) -> dict[str, str]:
    settings = {
        "listen_addresses": "127.0.0.1" if wishes.tcp else "",
        "port": str(wishes.port),
        "cluster_name": "hopsmeter",
        "max_connections": str(wishes.connections_max),
        # Small, and only what is used takes memory; the page cache holds what these do not. The log's
        # are filled with zeros at the start, and a posting of thousands of rows waits where they are few.
        "shared_buffers": "64MB",
        "wal_buffers": "2MB",
        "work_mem": "8MB",
        "maintenance_work_mem": "64MB",
        "min_wal_size": "32MB",
        "max_wal_size": "512MB",
        # No copies of this server: fewer processes, and COPY into a new table writes no log.
        "wal_level": "minimal",
        "max_wal_senders": "0",
        "max_logical_replication_workers": "0",
        "random_page_cost": "1.1",
        "jit": "off",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "lc_messages": "C",
        # The log may be shown: no rows, no statements in it.
        "log_checkpoints": "off",
        "log_error_verbosity": "terse",
        "log_min_error_statement": "panic",
        "fsync": _on(wishes.durable),
        "synchronous_commit": _on(wishes.durable),
        "full_page_writes": _on(wishes.durable),
    }
    if major >= IO_METHOD_SINCE:
        settings["io_method"] = "sync"  # else three worker processes wait for little work
    return settings


def _on(value: bool) -> str:
    return "on" if value else "off"


def _quote(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _write(path: Path, lines: list[str]) -> None:
    half = path.with_name(f"{path.name}.new")
    half.write_text("\n".join(lines) + "\n")
    half.chmod(0o644)
    half.replace(path)
