"""The demo's words: what a second start says of what it finds."""

import fcntl
import os
import sys
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import psycopg
import pytest

from core.clock import HOUR, utc_now
from sandbox.demo import __main__ as demo
from sandbox.demo import house, month, place, setup, watch
from sandbox.demo.house import DemoFailed
from tests.database import Database
from tests.factories import SINCE, add_cluster, add_window

STORED = (
    "UPDATE hopsmeter.collection_windows SET state = 'settled', revision = 1, next_try_at = NULL"
    " WHERE cluster_id = (SELECT id FROM hopsmeter.hopsworks_clusters WHERE name = %s)"
)


def test_a_cluster_that_a_killed_demo_had_asked_for_is_not_added_again(
    database: Database, tmp_path: Path
) -> None:
    """The daemon of the second start carries it out a moment later."""
    connection, beside = database.connect(), database.connect()
    connection.execute("INSERT INTO commands (key, name) VALUES (gen_random_uuid(), 'cluster.add')")

    def carry_out() -> None:
        add_cluster(beside, "eu-1")
        beside.execute("UPDATE commands SET state = 'done'")

    ran: list[tuple[str, ...]] = []
    home = SimpleNamespace(folder=tmp_path, run=lambda *words: ran.append(words))
    world = SimpleNamespace(clusters={"eu-1": {"kubeconfig": "made up"}})
    later = threading.Timer(0.3, carry_out)
    later.start()
    setup.add_clusters(cast("house.House", home), connection, world, SINCE)
    later.join()
    assert [words[:3] for words in ran] == [("cluster", "edit", "eu-1")]


def test_a_second_demo_says_since_when_the_first_one_meters(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(demo, "say", said.append)
    connection = database.connect()
    demo.say_since(connection, SINCE)
    assert said == [], "a new demo begins where it was told to"
    add_cluster(connection, metering_since=SINCE)
    demo.say_since(connection, SINCE)
    assert said == ["Going on with what is there, metered since 2026-03-01T00Z."]
    demo.say_since(connection, SINCE - 42 * HOUR)
    assert "--fresh" in said[-1]


def test_a_cluster_that_somebody_added_meanwhile_is_not_waited_for(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "CATCH_UP_S", 1.0)
    connection = database.connect()
    for name, state in (("eu-prod", "settled"), ("of-a-tour", "due")):
        add_window(connection, add_cluster(connection, name), SINCE, state)
    assert watch.catch_up(connection, ["eu-prod"], lambda _: None) < 1
    with pytest.raises(DemoFailed):
        watch.catch_up(connection, ["eu-prod", "us-gpu"], lambda _: None)


def test_hours_that_wait_for_another_try_are_asked_for_at_once_when_nothing_else_is_left(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "CATCH_UP_S", 1.0)
    connection = database.connect()
    waits = {"why": "It answered 500.", "next_try_at": utc_now() + HOUR}
    for name in ("eu-prod", "us-gpu"):
        add_window(connection, add_cluster(connection, name), SINCE, "due")
    connection.execute(
        "UPDATE hopsmeter.collection_windows SET state = 'failed', why = %(why)s,"
        " next_try_at = %(next_try_at)s WHERE cluster_id = ("
        "SELECT id FROM hopsmeter.hopsworks_clusters WHERE name = 'us-gpu')",
        waits,
    )
    asked: list[tuple[str, str]] = []

    def ask(state: watch.ClusterState) -> None:
        asked.append((state.name, state.outcome))
        connection.execute(STORED, [state.name])

    with pytest.raises(DemoFailed):
        watch.catch_up(connection, ["eu-prod", "us-gpu"], ask)
    assert asked == [], "the other one is not through"
    connection.execute(STORED, ["eu-prod"])
    watch.catch_up(connection, ["eu-prod", "us-gpu"], ask)
    assert asked == [("us-gpu", "It answered 500.")]


def test_a_catch_up_whose_disk_is_full_is_not_waited_for(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "CATCH_UP_S", 1.0)
    connection = database.connect()
    add_window(connection, add_cluster(connection, "eu-prod"), SINCE, "due")

    def look_round() -> None:
        raise place.no_room(Path("/demo"))

    with pytest.raises(DemoFailed, match="no room on the disk of /demo"):
        watch.catch_up(connection, ["eu-prod"], lambda _: None, look_round)


def test_a_daemon_that_ends_at_its_start_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = 'import sys; sys.exit(\'{"event": "it cannot go on", "why": "Another works."}\')'
    program = tmp_path / "hopsmeterd"
    program.write_text(f"#!{sys.executable}\n{said}\n")
    program.chmod(0o755)
    monkeypatch.setattr(house, "program", lambda _: str(program))
    with (
        pytest.raises(DemoFailed, match=r"hopsmeterd ended at its start: Another works\. See "),
        house.daemon(house.make_house(tmp_path / "demo")),
    ):
        pass


def test_a_demo_whose_daemon_is_killed_says_so_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []

    def killed(*_: object) -> int:
        raise psycopg.errors.AdminShutdown("terminating connection due to administrator command")

    monkeypatch.setattr(demo, "say", said.append)
    monkeypatch.setattr(demo, "_demo", killed)
    assert demo.main(["--headless", "--state", str(tmp_path / "demo")]) == 1
    assert said == [
        "The demo's daemon or its database ended. Start it again and it goes on from here."
    ]


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the demo says, where it moves in and nothing follows."""
    heard: list[str] = []
    monkeypatch.setattr(demo, "say", heard.append)
    monkeypatch.setattr(demo, "_demo", lambda *_: 0)
    monkeypatch.setattr(month, "tell", lambda _: 0)
    monkeypatch.setattr(place, "LEAVES_S", 0.0)
    return heard


@pytest.fixture
def lived_in(tmp_path: Path, said: list[str]) -> Path:
    """A folder as a demo leaves it."""
    folder = tmp_path / "demo"
    assert demo.main(["--state", str(folder)]) == 0
    assert said == []
    (folder / "state" / "postgres").mkdir(parents=True)
    (folder / "daemon.log").touch()
    (folder / "state" / "daemon.lock").write_text("4711\n")
    return folder


@pytest.fixture
def lock(lived_in: Path) -> Iterator[int]:
    """Hold that folder as its daemon does."""
    held = os.open(lived_in / "state" / "daemon.lock", os.O_RDWR)
    fcntl.flock(held, fcntl.LOCK_EX)
    yield held
    os.close(held)


@pytest.mark.usefixtures("lock")
@pytest.mark.parametrize("how", [[], ["--fresh"]])
def test_a_folder_where_another_demo_works_is_refused(
    how: list[str], lived_in: Path, said: list[str]
) -> None:
    assert demo.main(["--headless", "--state", str(lived_in), *how]) == 1
    assert "".join(said) == (
        f"The demo stops: Another demo runs in {lived_in} (its daemon is process 4711). Stop that"
        " one, or give this one a folder of its own: --state DIR."
    )
    assert (lived_in / "state" / "postgres").exists()


@pytest.mark.parametrize("how", [["--month", "--headless"], ["--fresh"]])
def test_a_month_that_is_lived_through_is_not_thrown_away(
    how: list[str], lived_in: Path, said: list[str]
) -> None:
    below = lived_in / "month"
    (lived_in / "state").rename(lived_in / "of-the-month")
    assert demo.main(["--state", str(lived_in), "--month", "--headless"]) == 0
    (lived_in / "of-the-month").rename(below / "state")
    held = os.open(below / "state" / "daemon.lock", os.O_RDWR)
    fcntl.flock(held, fcntl.LOCK_EX)
    assert demo.main(["--state", str(lived_in), *how]) == 1
    assert said[-1].startswith(f"The demo stops: Another demo runs in {below} ")
    os.close(held)
    assert demo.main(["--state", str(lived_in), *how]) == 0
    assert not (below / "state").exists()


def test_of_two_demos_that_start_at_once_one_is_refused_in_the_words_of_a_demo(
    lock: int, lived_in: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def overtaken(*_: object) -> int:
        fcntl.flock(lock, fcntl.LOCK_EX)
        raise DemoFailed("hopsmeterd ended at its start: … HOPSMETER_STATE_FOLDER.")

    monkeypatch.setattr(demo, "_demo", overtaken)
    fcntl.flock(lock, fcntl.LOCK_UN)
    assert demo.main(["--state", str(lived_in)]) == 1
    assert "--state DIR" in said[-1]
    assert "HOPSMETER" not in said[-1]


@pytest.mark.parametrize("how", [[], ["--fresh"], ["--month", "--headless"]])
def test_a_folder_that_no_demo_made_is_left_as_it_is(
    how: list[str], tmp_path: Path, said: list[str]
) -> None:
    folder = tmp_path / "month" if "--month" in how else tmp_path
    folder.mkdir(exist_ok=True)
    (folder / "thesis.txt").write_text("years of work")
    (folder / "hopsmeter.toml").write_text('state_folder = "/var/lib/hopsmeter"\n')
    folder.chmod(0o755)
    assert demo.main(["--state", str(tmp_path), *how]) == 1
    assert said[-1].startswith(f"The demo stops: {folder} is not empty, and no demo made it")
    assert {each.name for each in folder.iterdir()} == {"thesis.txt", "hopsmeter.toml"}
    assert folder.stat().st_mode & 0o777 == 0o755


def test_what_somebody_put_beside_a_demo_is_not_thrown_away_with_it(
    lived_in: Path, said: list[str]
) -> None:
    (lived_in / "notes.txt").touch()
    assert demo.main(["--state", str(lived_in)]) == 0
    assert demo.main(["--state", str(lived_in), "--fresh"]) == 1
    assert "holds notes.txt, which no demo made" in said[-1]
    assert (lived_in / "state" / "postgres").exists()


def test_a_demo_that_is_thrown_away_leaves_a_private_folder(
    lived_in: Path, said: list[str]
) -> None:
    assert lived_in.stat().st_mode & 0o777 == 0o700
    # As today's demo and those of before write it.
    written = f'state_folder = "{lived_in}/state"\nloopback_clusters = true\n'
    assert (lived_in / "hopsmeter.toml").read_text() == written
    assert demo.main(["--state", str(lived_in), "--fresh"]) == 0
    assert said == []
    assert [each.name for each in lived_in.iterdir()] == ["hopsmeter.toml"]


def test_an_empty_folder_keeps_its_mode(tmp_path: Path, said: list[str]) -> None:
    tmp_path.chmod(0o750)
    assert demo.main(["--state", str(tmp_path), "--fresh"]) == 0
    assert said == []
    assert tmp_path.stat().st_mode & 0o777 == 0o750


@pytest.mark.parametrize("where", ["file", "file/below", "/proc/demo", "/proc/self/fd"])
@pytest.mark.parametrize("how", [[], ["--fresh"]])
def test_a_place_where_no_demo_can_live_is_refused_in_a_sentence(
    where: str, how: list[str], tmp_path: Path, said: list[str]
) -> None:
    (tmp_path / "file").touch()
    assert demo.main(["--state", str(tmp_path / where), *how]) == 1
    assert said[-1].startswith("The demo stops: ")
    assert "--state DIR" in said[-1]


@pytest.mark.parametrize("name", ['a "quoted" one', "back\\slash", "tab\tand\x7fdel", "größer 🚲"])
def test_settings_hold_a_path_of_any_letters(name: str, tmp_path: Path, said: list[str]) -> None:
    folder = tmp_path / name
    for _ in range(2):
        assert demo.main(["--state", str(folder), "--fresh"]) == 0
    assert said == []
    settings = tomllib.loads((folder / "hopsmeter.toml").read_text())
    assert settings["state_folder"] == str(folder / "state")


def test_a_full_disk_is_not_said_to_go_on(
    lived_in: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise psycopg.errors.DiskFull("could not extend file: No space left on device")

    monkeypatch.setattr(demo, "_demo", full)
    assert demo.main(["--state", str(lived_in)]) == 1
    assert said[-1].startswith(f"The demo stops: There is no room on the disk of {lived_in}.")


def test_a_month_that_is_stopped_is_not_said_to_go_on(
    tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(month, "tell", stopped)
    assert demo.main(["--month", "--headless", "--state", str(tmp_path)]) == 130
    assert said == ["Stopped. Started again, the month begins anew."]
