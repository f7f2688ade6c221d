import asyncio
import re
import threading
import time
from pathlib import Path

import psycopg
import pytest
import schedule

from core.clock import utc_now
from core.clusters.vault import Keyring
from core.db.connect import connect
from core.errors import DatabaseReadOnly
from core.settings import load
from daemon.agenda import AGENDA, TICKS, Alarm, Job
from daemon.collecting import Collecting, short_name
from daemon.deps import Deps, Report
from daemon.runner import Runner
from daemon.tally import Tally
from tests.database import Database

QUICK_S = 2.0


@pytest.fixture
def deps(database: Database, tmp_path: Path) -> Deps:
    return Deps(
        settings=load({"HOPSMETER_STATE_FOLDER": str(tmp_path)}),
        name="here:test",
        version="0",
        started_at=utc_now(),
        clock=utc_now,
        keyring=Keyring.generate(),
        tally=Tally(),
        url=lambda: database.url,
        collecting=Collecting(threading.Event()),
    )


def job(name: str, run: object, limit_s: float = 10.0) -> Job:
    return Job(name, 1, limit_s, run, "A job of a test.")  # type: ignore[arg-type]  # any callable


def outcome(deps: Deps, name: str, word: str) -> float:
    return (
        deps.tally.registry.get_sample_value(
            "hopsmeter_job_runs_total", {"job": name, "outcome": word}
        )
        or 0.0
    )


async def test_a_job_that_hangs_holds_up_no_other(deps: Deps) -> None:
    runner = Runner(deps, on_lost=lambda: None)
    release = threading.Event()

    def hang(_: Deps) -> Report:
        release.wait(QUICK_S)
        return Report()

    hanging = runner.start(job("hangs", hang))
    quick = runner.start(job("quick", lambda _: Report({"done": 1})))
    assert hanging is not None
    assert quick is not None
    assert (await asyncio.wait_for(quick, QUICK_S)).facts == {"done": 1}
    assert runner.running == ("hangs",)
    assert runner.start(job("hangs", hang)) is None
    release.set()
    await hanging


async def test_a_statement_over_its_jobs_limit_is_cut(deps: Deps, database: Database) -> None:
    runner = Runner(deps, on_lost=lambda: None)

    def sleep(with_deps: Deps) -> Report:
        with with_deps.connect("sleeper") as connection:
            connection.execute("SELECT pg_sleep(60)")
        return Report()

    begun_s = time.monotonic()
    ended = runner.start(job("sleeps", sleep, limit_s=0.3))
    assert ended is not None
    with pytest.raises(psycopg.Error):
        await ended
    assert time.monotonic() - begun_s < QUICK_S
    assert (outcome(deps, "sleeps", "late"), outcome(deps, "sleeps", "failed")) == (1, 0)
    left = database.connect().execute(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'hopsmeterd sleeper'"
        " AND state = 'active'"
    )
    assert left.fetchone() == (0,)


async def test_a_lost_database_is_told_and_a_bug_is_counted(deps: Deps) -> None:
    lost = []
    runner = Runner(deps, on_lost=lambda: lost.append(1))

    def lose(_: Deps) -> Report:
        raise psycopg.OperationalError("gone")

    def break_(_: Deps) -> Report:
        raise ZeroDivisionError

    for each in (job("loses", lose), job("breaks", break_)):
        ended = runner.start(each)
        assert ended is not None
        await asyncio.wait([ended])
    assert lost == [1]
    assert (outcome(deps, "loses", "failed"), outcome(deps, "breaks", "failed")) == (1, 1)


async def test_a_database_that_takes_no_writes_is_told_as_one_that_is_away(deps: Deps) -> None:
    lost = []
    runner = Runner(deps, on_lost=lambda: lost.append(1))

    def write(deps: Deps) -> Report:
        with deps.connect("test") as connection:
            connection.execute("SET default_transaction_read_only = on")
            connection.execute("CREATE TABLE hopsmeter.never (id int)")
        return Report()

    ended = runner.start(job("writes", write))
    assert ended is not None
    await asyncio.wait([ended])
    fault = ended.exception()
    assert isinstance(fault, DatabaseReadOnly)
    assert "standby" in fault.message
    assert lost == [1]


async def test_nothing_begins_once_the_daemon_stops(deps: Deps) -> None:
    runner = Runner(deps, on_lost=lambda: None)
    deps.stopping.set()
    assert runner.start(job("late", lambda _: Report())) is None
    assert await runner.drain(0.1) == ()


def test_every_job_has_a_limit_and_can_be_ticked() -> None:
    assert {each.name for each in AGENDA} < set(TICKS)
    assert all(each.limit_s > 0 and each.says.endswith(".") for each in TICKS.values())


def test_a_clock_that_was_set_back_makes_no_job_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[str] = []
    alarm = Alarm((job("ticks", None),), lambda each: begun.append(each.name))
    alarm.ring()
    assert begun == []
    monkeypatch.setattr(schedule.Scheduler, "idle_seconds", 3600.0)
    alarm.ring()
    assert begun == ["ticks"]


def test_a_patient_job_waits_for_its_time_at_the_start() -> None:
    begun: list[str] = []
    patient = Job("patient", 3600, 1, lambda _: Report(), "Waits.", patient=True)
    Alarm((job("eager", None), patient), lambda each: begun.append(each.name)).ring_all()
    assert begun == ["eager"]


def test_two_installations_on_one_host_have_names_of_their_own() -> None:
    host = "a-host-with-a-very-long-name.and.a.domain.example"
    names = {short_name(f"{host}:{folder}") for folder in ("/var/lib/one", "/var/lib/two")}
    assert len(names) == 2
    assert all(len(f"hopsmeter-store {name}") < 63 for name in names)


def test_the_page_on_operating_names_every_job() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "operate.md").read_text()
    assert set(TICKS) <= set(re.findall(r"^\| `([\w-]+)` \|", page, re.MULTILINE))


def test_a_name_is_shown_by_the_database_as_it_was_given(database: Database) -> None:
    """By its name a frozen daemon's backend is ended; PostgreSQL writes letters beyond ASCII anew."""
    name = f"hopsmeter-store {short_name('here:/srv/münchen')}"
    with connect(database.url, name=name) as connection:
        row = connection.execute(
            "SELECT application_name FROM pg_stat_activity WHERE pid = pg_backend_pid()"
        ).fetchone()
    assert row == (name,)
