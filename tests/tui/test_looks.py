"""How the screens look, at the sizes that count. After a change that is meant, look at the
pictures, then run with --snapshot-update.
"""

from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from textual.pilot import Pilot

from tests.database import Connection, Database, Server, cloned
from tests.factories import NOW, add_allocation, add_cluster, add_user, add_window
from tests.tui.driving import app_of, dashboard, name_the_database, of, settled, until
from tests.tui.story import HOSTILE, NEWEST, PEOPLE, tell
from tui import feeds, theme

Compare = Callable[..., bool]
Before = Callable[[Pilot[Any]], Awaitable[None]]
SIZES = [(80, 24), (120, 36), (160, 45)]
NOWHERE = "postgresql://hopsmeter@127.0.0.1:1/hopsmeter"

NARROW = [(60, 15), (70, 20)]


def named(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


sizes = pytest.mark.parametrize("size", SIZES, ids=named)


@pytest.fixture(scope="module")
def told(_admin: Connection, postgres: Server) -> Iterator[Database]:
    """The story, told once: pictures only read."""
    with cloned(_admin, postgres) as database:
        connection = database.connect()
        with connection.transaction():
            tell(connection)
        yield database


@pytest.fixture
def story(told: Database, monkeypatch: pytest.MonkeyPatch) -> Database:
    name_the_database(monkeypatch)
    return told


def walk(*keys: str) -> Before:
    """Press the keys, each on a screen that has its answer."""

    async def before(pilot: Pilot[Any]) -> None:
        await settled(pilot)
        for key in keys:
            await pilot.press(key)
            if key == "enter":
                await settled(pilot)
        await pilot.pause()

    return before


def test_nobody_in_the_pictures_pays_in_two_currencies(story: Database) -> None:
    """The ledger refuses that; a reader of the documents should not see it either."""
    paid = story.connect().execute(
        "SELECT a.account_no, u.currency, array_agg(DISTINCT c.currency)"
        " FROM hopsmeter.allocations a JOIN hopsmeter.users u ON u.no = a.account_no"
        " JOIN hopsmeter.hopsworks_clusters c ON c.id = a.cluster_id GROUP BY 1, 2"
    )
    rows = paid.fetchall()
    assert len(rows) == len(PEOPLE)
    assert [row for row in rows if row[2] != [row[1]]] == []


@pytest.mark.parametrize("size", [*SIZES, *NARROW], ids=named)
def test_the_first_screen_looks_so(
    story: Database, snap_compare: Compare, size: tuple[int, int]
) -> None:
    assert snap_compare(of(story), terminal_size=size, run_before=walk())


@sizes
def test_a_cluster_in_trouble_looks_so(
    story: Database, snap_compare: Compare, size: tuple[int, int]
) -> None:
    assert snap_compare(of(story), terminal_size=size, run_before=walk("G", "enter"))


@sizes
def test_a_users_namespaces_look_so(
    story: Database, snap_compare: Compare, size: tuple[int, int]
) -> None:
    assert snap_compare(of(story), terminal_size=size, run_before=walk("3", "enter"))


@sizes
def test_one_hour_and_its_proof_look_so(
    story: Database, snap_compare: Compare, size: tuple[int, int]
) -> None:
    keys = ("3", "enter", "enter", "enter")
    assert snap_compare(of(story), terminal_size=size, run_before=walk(*keys))


@pytest.mark.parametrize("name", [theme.LIGHT, theme.BLUE_ORANGE])
def test_each_theme_looks_so(story: Database, snap_compare: Compare, name: str) -> None:
    app = of(story, theme_name=name)
    assert snap_compare(app, terminal_size=(120, 36), run_before=walk())


def test_without_colour_every_state_still_reads(
    story: Database, snap_compare: Compare, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert snap_compare(of(story), terminal_size=(120, 36), run_before=walk())


def test_a_filter_looks_so(story: Database, snap_compare: Compare) -> None:
    assert snap_compare(of(story), run_before=walk("4", "slash", *"thes"))


def test_the_help_looks_so(story: Database, snap_compare: Compare) -> None:
    assert snap_compare(of(story), terminal_size=(120, 36), run_before=walk("question_mark"))


def test_a_whole_row_looks_so(story: Database, snap_compare: Compare) -> None:
    assert snap_compare(of(story), run_before=walk("G", "i"))


@sizes
def test_an_empty_database_looks_so(
    database: Database,
    snap_compare: Compare,
    monkeypatch: pytest.MonkeyPatch,
    size: tuple[int, int],
) -> None:
    name_the_database(monkeypatch)
    assert snap_compare(of(database), terminal_size=size, run_before=walk())


def test_no_connection_looks_so(snap_compare: Compare, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "RETRY_PAUSES_S", (60.0,))

    async def before(pilot: Pilot[Any]) -> None:
        await until(pilot, lambda: app_of(pilot).trouble is not None)
        await pilot.pause()

    assert snap_compare(dashboard(NOWHERE), run_before=before)


def test_a_lost_connection_looks_so(
    story: Database, snap_compare: Compare, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def before(pilot: Pilot[Any]) -> None:
        await settled(pilot)
        app = app_of(pilot)
        app.post_message(
            feeds.Lost("the server closed the connection.", NOW + timedelta(seconds=4))
        )
        await until(pilot, lambda: app.trouble is not None)
        await pilot.pause()

    assert snap_compare(of(story), terminal_size=(120, 36), run_before=before)


@sizes
def test_hostile_names_look_harmless(
    database: Database,
    snap_compare: Compare,
    monkeypatch: pytest.MonkeyPatch,
    size: tuple[int, int],
) -> None:
    name_the_database(monkeypatch)
    connection = database.connect()
    cluster = add_cluster(connection, last_outcome="[/] \x1b[31m" + "x" * 200)
    add_window(connection, cluster, NEWEST)
    for number, name in enumerate(HOSTILE):
        user = add_user(connection, name, id=f"auth0|{number}")
        add_allocation(connection, cluster, NEWEST, f"{name}-{number}", user=user)
        add_allocation(connection, cluster, NEWEST, name)
    assert snap_compare(of(database), terminal_size=size, run_before=walk())
