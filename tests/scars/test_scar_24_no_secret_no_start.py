"""The cron endpoint was open when its secret was not set; the admin page was hidden by its name."""

import json
from pathlib import Path

import httpx
import pytest

from core.clusters.vault import init_keyring
from tests.daemon.process import Daemon, environment, once
from tests.database import Database


@pytest.mark.parametrize("command", ["run", "tick hours"])
def test_without_its_keyring_nothing_starts_and_the_way_out_is_told(
    database: Database, tmp_path: Path, command: str
) -> None:
    done = once(*command.split(), around=environment(tmp_path, database_url=database.url))
    assert done.returncode == 1
    assert "hopsmeter secrets init" in json.loads(done.stderr.splitlines()[-1])["why"]
    assert database.connect().execute("SELECT count(*) FROM daemons").fetchone() == (0,)


def test_a_start_makes_no_key_of_its_own(database: Database, tmp_path: Path) -> None:
    once("run", around=environment(tmp_path, database_url=database.url))
    assert not (tmp_path / "keyring").exists()


def test_another_keyring_than_the_databases_does_not_start(
    database: Database, tmp_path: Path
) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        init_keyring(tmp_path / name / "keyring")
    around = environment(tmp_path / "first", database_url=database.url)
    assert once("tick", "post", around=around).returncode == 0
    done = once("run", around=environment(tmp_path / "second", database_url=database.url))
    assert done.returncode == 1
    assert "not the one that this database was sealed with" in done.stderr


def test_a_keyring_that_others_may_read_does_not_start(database: Database, tmp_path: Path) -> None:
    init_keyring(tmp_path / "keyring")
    (tmp_path / "keyring").chmod(0o444)
    done = once("run", around=environment(tmp_path, database_url=database.url))
    assert done.returncode == 1
    assert "others may read" in done.stderr


def test_the_pages_only_tell_and_only_on_loopback(database: Database, tmp_path: Path) -> None:
    init_keyring(tmp_path / "keyring")
    with Daemon(environment(tmp_path, database_url=database.url)) as daemon:
        address = daemon.wait_for("listening")["address"]
        assert address.startswith("127.0.0.1:")
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            refused = httpx.request(method, f"http://{address}/readyz")
            assert refused.status_code == 405
        for path in ("/", "/admin", "/cron", "/tick", "/docs", "/openapi.json"):
            assert daemon.ask(path)[0] == 404
        assert daemon.end() == 0
    done = once("check", around=environment(tmp_path, listen="0.0.0.0:9480"))
    assert done.returncode == 1
    assert "must be a loopback address" in done.stderr
