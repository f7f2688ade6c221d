"""The feed: every question under the narrow role of a person, one moment per answer, no writes."""

import time
from collections.abc import Callable, Iterator

import psycopg
import pytest
from psycopg import sql

from core.db.roles import ensure_login_role, ensure_roles
from tests.database import Connection, Database
from tests.factories import NOW
from tests.tui.story import NEWEST, tell
from tui import feeds

QUESTIONS: tuple[feeds.Question, ...] = (
    feeds.OverviewPage(),
    feeds.ClusterPage("eu-north-1"),
    feeds.UserPage("auth0|dmitri.k", "dmitri.k@example.org"),
    feeds.NamespacePage("eu-north-1", "vision-train"),
    feeds.HourPage("eu-north-1", "vision-train", NEWEST),
)


@pytest.fixture
def person(database: Database) -> Iterator[Connection]:
    owner = database.connect()
    with owner.transaction():
        tell(owner)
    role = f"{database.name}_reader"
    ensure_roles(owner)
    ensure_login_role(owner, role)
    with psycopg.connect(database.url_for(role), autocommit=True) as connection:
        yield connection
    owner.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


def test_a_person_may_read_every_screen(person: Connection) -> None:
    for question in QUESTIONS:
        answer = feeds.ask(person, question, NOW)
        assert answer == feeds.ask(person, question, NOW)
        assert "dmitri.k" in repr(answer)


def test_a_person_may_ask_whether_there_is_an_admin(person: Connection) -> None:
    assert feeds._has_admin(person) is False


def until(true: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline_s
        time.sleep(0.005)


@pytest.mark.parametrize("interval_s", [0.01, 60.0])
def test_no_answer_is_read_while_the_one_before_waits_to_be_painted(
    database: Database, interval_s: float
) -> None:
    """On a slow terminal answers would pile up, and the screen fall ever further behind."""
    came: list[feeds.Answered] = []

    def post(message: object) -> None:
        if isinstance(message, feeds.Answered):
            came.append(message)

    feed = feeds.Feed(database.url, post, read_only=True, now=lambda: NOW, interval_s=interval_s)
    feed.ask(QUESTIONS[0])
    feed.start()
    try:
        until(lambda: len(came) == 1)
        feed.ask(QUESTIONS[1])
        time.sleep(0.3)
        assert len(came) == 1
        feed.taken()
        until(lambda: len(came) == 2)
        assert came[1].question == QUESTIONS[1]
    finally:
        feed.stop()


def test_a_read_that_stood_still_makes_the_next_one_wait_no_longer_than_its_limit(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that was frozen for a while leaves a screen that is stale for ten times as long."""
    monkeypatch.setattr(feeds, "REST_MAX_S", 0.1)
    came: list[float] = []
    feed: feeds.Feed

    def post(message: object) -> None:
        if isinstance(message, feeds.Answered):
            came.append(time.monotonic())
            feed.taken()

    feed = feeds.Feed(database.url, post, read_only=True, now=lambda: NOW, interval_s=0.01)
    feed.ask(QUESTIONS[0])
    feed.start()
    try:
        until(lambda: len(came) >= 2)
        owner = database.connect()
        with owner.transaction():
            owner.execute("LOCK TABLE hopsworks_clusters IN ACCESS EXCLUSIVE MODE")
            before = len(came)
            time.sleep(1.2)
            assert len(came) <= before + 1
        until(lambda: len(came) >= before + 3)
    finally:
        feed.stop()


def test_a_password_never_reaches_the_screen() -> None:
    dsn = "postgresql://anna:hunter2@db.example.test/hopsmeter"
    said = feeds._sentence(psycopg.OperationalError("server closed the connection"), dsn)
    assert said == "database hopsmeter at db.example.test: server closed the connection"
