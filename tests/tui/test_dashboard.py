"""The dashboard's behaviour, on a real database."""

import re
from datetime import timedelta

import pytest
from textual.pilot import Pilot

from core.clock import HOUR
from core.errors import DatabaseFault
from tests.database import Database
from tests.factories import NOW, add_allocation, add_cluster, add_daemon, add_user, add_window
from tests.tui.driving import (
    app_of,
    dashboard,
    listing,
    of,
    on_screen,
    said,
    settled,
    until,
)
from tests.tui.story import NEWEST, tell
from tui import feeds, signs, theme
from tui.screens import view
from tui.screens.detail import Detail, Help, TooSmall
from tui.widgets.listing import Listing
from tui.widgets.prompt import Prompt
from tui.widgets.table import KeyedTable

NOWHERE = "postgresql://hopsmeter@127.0.0.1:1/hopsmeter"


@pytest.fixture
def small_world(database: Database) -> Database:
    connection = database.connect()
    add_daemon(connection)
    eu, anna = add_cluster(connection), add_user(connection)
    for number in range(3):
        add_window(connection, eu, NEWEST - number * HOUR)
        add_allocation(connection, eu, NEWEST - number * HOUR, user=anna)
        add_allocation(connection, eu, NEWEST - number * HOUR, "lost")
        add_allocation(connection, eu, NEWEST - number * HOUR, "lost-too")
    return database


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "RETRY_PAUSES_S", (0.05,))
    monkeypatch.setattr(feeds, "SETTLE_S", 0.01)


async def test_the_first_screen_shows_clusters_hours_users_and_unmapped(
    small_world: Database,
) -> None:
    async with of(small_world).run_test(size=(120, 36)) as pilot:
        await settled(pilot)
        text = on_screen(pilot)
        assert re.search(r"eu-1 +● ok +2 min ago", text)
        assert "anna@example.test" in text
        assert "eu-1/lost-too" in text
        assert "9.00 USD" in text
        assert "● alive" in text
        assert re.search(r"hopsmeter +demo +db test_\w+ · role", text)
        assert "RW" not in text


async def test_enter_goes_down_to_the_proof_and_escape_comes_back(small_world: Database) -> None:
    async with of(small_world).run_test(size=(120, 36)) as pilot:
        await settled(pilot)
        await pilot.press("enter")
        await settled(pilot)
        assert listing(pilot, "namespaces").rows[0].name in ("lost", "lost-too", "ml-train")
        await pilot.press("enter")
        await settled(pilot)
        await pilot.press("enter")
        await settled(pilot)
        assert said(pilot, "crumbs").count("›") == 3
        assert "SHA-256" in on_screen(pilot)
        for _ in range(3):
            await pilot.press("escape")
        assert len(app_of(pilot).views) == 1


async def test_escape_never_leaves_the_first_screen(small_world: Database) -> None:
    async with of(small_world).run_test() as pilot:
        await settled(pilot)
        await pilot.press("escape", "escape")
        assert app_of(pilot).is_running
        await pilot.pause()
        assert "This is the first screen; q leaves hopsmeter." in on_screen(pilot)
        assert "as of" in on_screen(pilot)


@pytest.mark.parametrize("key", ["z", "p", "exclamation_mark", "minus", "ctrl+p", "f5"])
async def test_a_key_without_meaning_points_to_the_help(small_world: Database, key: str) -> None:
    async with of(small_world).run_test() as pilot:
        await settled(pilot)
        await pilot.press(key)
        assert "? lists the keys" in said(pilot)
        await pilot.press("down")
        assert said(pilot) == ""


async def test_what_is_said_fades_by_itself(
    small_world: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(view, "SAID_S", 0.5)
    async with of(small_world).run_test() as pilot:
        await settled(pilot)
        await pilot.press("escape")
        assert said(pilot)
        await until(pilot, lambda: not said(pilot))


async def test_a_long_message_has_the_line_for_itself_and_the_age_comes_back(
    small_world: Database,
) -> None:
    async with of(small_world).run_test() as pilot:
        await settled(pilot)
        app_of(pilot).views[-1].say("x" * 70)
        await pilot.pause()
        assert "x" * 70 in on_screen(pilot)
        await pilot.press("down")
        await pilot.pause()
        assert "as of" in on_screen(pilot)


async def test_each_list_opens_its_own_screen(small_world: Database) -> None:
    async with of(small_world).run_test() as pilot:
        await settled(pilot)
        crumbs = []
        for panel in "1234":
            await pilot.press(panel, "enter")
            await settled(pilot)
            crumbs.append(app_of(pilot).views[-1].crumb)
            await pilot.press("escape")
        assert crumbs == ["eu-1", "eu-1", "anna@example.test", "eu-1/lost"]


async def test_a_held_hour_names_what_decides_about_it(database: Database) -> None:
    connection = database.connect()
    eu = add_cluster(connection)
    why = "The re-read of 2026-03-14T08Z no longer has 1 namespace (b)."
    add_window(connection, eu, NEWEST, "held", fault="shrank", why=why)
    async with of(database).run_test(size=(161, 45)) as pilot:
        await settled(pilot)
        await pilot.press("enter")
        await settled(pilot)
        assert f"{why} · `hopsmeter hours accept|keep` decides" in on_screen(pilot)


@pytest.mark.parametrize(
    ("state", "accepted", "named"),
    [
        ("gap", False, "the disk is gone · given up by olaf"),
        ("settled", True, "the disk is gone · accepted by olaf"),
        ("settled", False, "the disk is gone · kept by olaf"),
    ],
)
async def test_a_decided_hour_names_the_decision_and_its_reason(
    database: Database, state: str, named: str, *, accepted: bool
) -> None:
    connection = database.connect()
    why = {"why": "the disk is gone", "decided_by": "olaf", "accepted": accepted}
    add_window(connection, add_cluster(connection), NEWEST, state, **why)
    async with of(database).run_test(size=(120, 36)) as pilot:
        await settled(pilot)
        await pilot.press("enter")
        await settled(pilot)
        assert named in on_screen(pilot)


async def test_a_failing_cluster_says_when_it_is_tried_again(database: Database) -> None:
    connection = database.connect()
    at = NOW + timedelta(minutes=4)
    add_cluster(connection, failures=4, last_outcome="no pod", next_visit_at=at)
    async with of(database).run_test(size=(120, 36)) as pilot:
        await settled(pilot)
        assert "next try 14:17 · no pod" in on_screen(pilot)
        await pilot.press("enter")
        await settled(pilot)
        assert "next try 14:17 · no pod" in on_screen(pilot)


async def test_an_hour_that_was_never_read_shows_no_cost_and_not_zero(database: Database) -> None:
    connection = database.connect()
    add_window(connection, add_cluster(connection), NEWEST, "failed", fault="no-pod")
    async with of(database).run_test(size=(120, 36)) as pilot:
        await settled(pilot)
        assert re.search(r" 0 +USD", on_screen(pilot))
        await pilot.press("enter")
        await settled(pilot)
        assert re.search(r"13Z +× failed +USD", on_screen(pilot))


async def test_a_cluster_that_is_ok_says_so_once(database: Database) -> None:
    connection = database.connect()
    add_window(connection, add_cluster(connection, last_outcome="ok"), NEWEST)
    async with of(database).run_test(size=(120, 36)) as pilot:
        await settled(pilot)
        await pilot.press("enter")
        await settled(pilot)
        assert said(pilot, "facts").split() == ["●", "ok", "answered", "2", "min", "ago"]


async def test_a_new_hour_appears_when_the_daemon_says_so(
    small_world: Database, impatient: None
) -> None:
    connection = small_world.connect()
    async with of(small_world).run_test(size=(120, 36)) as pilot:
        await settled(pilot)
        assert "us-1" not in on_screen(pilot)
        add_cluster(connection, "us-1")
        connection.execute("SELECT pg_notify('hopsmeter_books', 'stored')")
        await until(pilot, lambda: "us-1" in on_screen(pilot))


async def test_without_the_word_of_the_daemon_the_interval_refreshes(
    small_world: Database,
) -> None:
    connection = small_world.connect()
    async with of(small_world, interval_s=0.05).run_test(size=(120, 36)) as pilot:
        await settled(pilot)
        add_cluster(connection, "us-1")
        await until(pilot, lambda: "us-1" in on_screen(pilot))


async def test_a_refresh_without_change_paints_nothing(
    small_world: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with of(small_world).run_test(size=(120, 36)) as pilot:
        await settled(pilot)
        drawn: list[int] = []
        before = KeyedTable.render_line

        def render_line(self: KeyedTable, y: int) -> object:
            drawn.append(y)
            return before(self, y)

        monkeypatch.setattr(KeyedTable, "render_line", render_line)
        await settled(pilot)
        await settled(pilot)
        assert drawn == []


async def test_the_filter_counts_and_survives_going_down_and_back(small_world: Database) -> None:
    async with of(small_world).run_test(size=(120, 36)) as pilot:
        await settled(pilot)
        await pilot.press("4", "slash", *"too")
        assert "UNMAPPED /too 1 / 2" in said(pilot, "crumbs")
        await pilot.press("enter", "enter")
        await settled(pilot)
        await pilot.press("escape")
        await settled(pilot)
        assert [row.key for row in listing(pilot, "unmapped").rows] == [("eu-1", "lost-too")]
        await pilot.press("escape")
        assert len(listing(pilot, "unmapped").rows) == 2
        assert "/" not in said(pilot, "crumbs")


async def test_an_inverse_filter_keeps_what_does_not_match(small_world: Database) -> None:
    async with of(small_world).run_test() as pilot:
        await settled(pilot)
        await pilot.press("4", "slash", *"!too")
        assert [row.key for row in listing(pilot, "unmapped").rows] == [("eu-1", "lost")]
        await pilot.press("escape")
        assert len(listing(pilot, "unmapped").rows) == 2
        assert not app_of(pilot).views[-1].query_one(Prompt).is_open


async def test_letters_typed_into_the_filter_do_nothing_else(small_world: Database) -> None:
    async with of(small_world).run_test() as pilot:
        await settled(pilot)
        await pilot.press("slash", *"qt?s")
        assert app_of(pilot).is_running
        assert app_of(pilot).theme == theme.DARK
        assert "Nothing in CLUSTERS holds 'qt?s'." in on_screen(pilot)


async def test_the_focused_list_is_marked_by_more_than_colour(small_world: Database) -> None:
    async with of(small_world).run_test() as pilot:
        await settled(pilot)
        for key, title in (("1", "CLUSTERS"), ("3", "COST BY USER"), ("tab", "UNMAPPED")):
            await pilot.press(key)
            await pilot.pause()
            found = re.findall("▌ ((?:[A-Z]+ ?)+)", on_screen(pilot))
            assert [each.strip() for each in found] == [title]


async def test_commands_complete_with_tab_and_go_there(small_world: Database) -> None:
    async with of(small_world).run_test() as pilot:
        await settled(pilot)
        await pilot.press("colon", *"clus")
        await pilot.pause()
        await pilot.press("tab", "space", "e")
        await pilot.pause()
        await pilot.press("tab", "enter")
        await settled(pilot)
        assert app_of(pilot).views[-1].crumb == "eu-1"
        await pilot.press("colon", *"overview", "enter")
        assert len(app_of(pilot).views) == 1


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        ("clustr", "No :clustr. Did you mean :cluster? Or :help :quit :overview :user :theme"),
        ("foo", "No :foo. There are :help :quit :overview :cluster :user :theme"),
        ("cluster eu-2", "Did you mean 'eu-1'?"),
        ("theme", "a theme to be named"),
    ],
)
async def test_an_unknown_command_suggests_the_nearest(
    small_world: Database, typed: str, answer: str
) -> None:
    async with of(small_world).run_test() as pilot:
        await settled(pilot)
        await pilot.press("colon", *typed, "enter")
        await pilot.pause()
        assert answer in said(pilot)
        assert answer in on_screen(pilot)


async def test_help_lists_every_key_and_every_sign(small_world: Database) -> None:
    async with of(small_world).run_test(size=(160, 45)) as pilot:
        await pilot.press("question_mark")
        assert isinstance(pilot.app.screen, Help)
        shown = "\n".join(row.text for row in pilot.app.screen.query_one(Listing).rows)
        for sign in (*signs.HOURS.values(), *signs.CLUSTERS.values()):
            assert sign.meaning in shown or not sign.word
        assert ":cluster CLUSTER" in shown
        await pilot.press("escape")
        assert not isinstance(pilot.app.screen, Help)


async def test_a_whole_row_can_be_seen_and_copied(small_world: Database) -> None:
    connection = small_world.connect()
    outcome = "x" * 200
    connection.execute("UPDATE hopsmeter.hopsworks_clusters SET last_outcome = %s", [outcome])
    async with of(small_world).run_test() as pilot:
        await settled(pilot)
        await pilot.press("i")
        assert isinstance(pilot.app.screen, Detail)
        assert on_screen(pilot).count("x") >= 200
        await pilot.press("escape", "y")
        assert outcome in pilot.app.clipboard
        assert "1 row copied" in said(pilot)


async def test_sorting_marks_the_column_and_survives_a_refresh(small_world: Database) -> None:
    async with of(small_world).run_test() as pilot:
        await settled(pilot)
        await pilot.press("4", "s")
        await settled(pilot)
        unmapped = listing(pilot, "unmapped")
        assert "SINCE▲" in unmapped.render_line(0).text
        await pilot.press("o")
        assert "SINCE▼" in unmapped.render_line(0).text


async def test_without_an_admin_the_first_step_is_to_make_one(database: Database) -> None:
    async with of(database).run_test() as pilot:
        await settled(pilot)
        text = on_screen(pilot)
        assert 0 < text.find("hopsmeter admin bootstrap") < text.find("hopsmeter cluster add")


async def test_an_empty_database_teaches_the_first_step(database: Database) -> None:
    connection = database.connect()
    olaf = add_user(connection, "olaf@example.test", is_admin=True)
    connection.execute(
        "INSERT INTO hopsmeter.logins (role, user_id) VALUES ('olaf', %s)", [olaf.id]
    )
    async with of(database).run_test() as pilot:
        await settled(pilot)
        text = on_screen(pilot)
        assert "No clusters yet." in text
        assert "hopsmeter cluster add" in text
        assert "bootstrap" not in text


async def test_without_a_database_the_frame_says_what_it_waits_for(impatient: None) -> None:
    async with dashboard(NOWHERE).run_test() as pilot:
        await until(pilot, lambda: "No connection yet" in on_screen(pilot))
        text = on_screen(pilot)
        assert "database hopsmeter at 127.0.0.1" in text
        await pilot.press("question_mark")
        assert isinstance(pilot.app.screen, Help)


async def test_a_lost_connection_keeps_the_rows_and_recovers_unaided(
    small_world: Database, impatient: None
) -> None:
    admin = small_world.connect()
    async with of(small_world, interval_s=0.05).run_test(size=(120, 36)) as pilot:
        await settled(pilot)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(feeds, "connect", _refuse)
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = %s AND datname = current_database()",
                [feeds.NAME],
            )
            await until(pilot, lambda: "Connection lost" in on_screen(pilot))
            text = on_screen(pilot)
            assert "anna@example.test" in text
            assert pilot.app.screen.has_class("-lost")
        await until(pilot, lambda: app_of(pilot).trouble is None)
        await settled(pilot)
        assert "Connection lost" not in on_screen(pilot)
        assert not pilot.app.screen.has_class("-lost")


def _refuse(*_: object, **__: object) -> None:
    raise DatabaseFault("the database has gone away.")


async def test_without_a_connection_states_are_said_to_be_of_then(small_world: Database) -> None:
    async with of(small_world).run_test(size=(120, 36)) as pilot:
        await settled(pilot)
        app = app_of(pilot)
        app.on_lost(feeds.Lost("gone.", NOW + HOUR))
        await pilot.pause()
        text = on_screen(pilot)
        assert "AS OF 14:13" in text
        assert "○ was alive" in text
        assert "● alive" not in text
        app.on_answered(feeds.Answered(app.views[-1].question, answer_of(pilot), NOW))
        await pilot.pause()
        assert "● alive" in on_screen(pilot)
        assert "AS OF" not in on_screen(pilot)


def answer_of(pilot: Pilot[None]) -> feeds.Answer:
    answer = app_of(pilot).views[-1]._answer
    assert answer is not None
    return answer


async def test_a_database_without_our_schema_is_told_in_a_sentence(
    database: Database, impatient: None
) -> None:
    database.connect().execute("DROP SCHEMA hopsmeter CASCADE")
    async with of(database).run_test() as pilot:
        await until(pilot, lambda: "hopsmeter db upgrade" in on_screen(pilot))
        assert "There is no hopsmeter schema" in on_screen(pilot)


async def test_a_feed_that_breaks_ends_the_app_instead_of_showing_old_figures(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(feeds, "ask", broken)
    with pytest.raises(ZeroDivisionError):
        async with of(database).run_test() as pilot:
            await until(pilot, lambda: not pilot.app.is_running)


async def test_a_screen_that_is_too_small_says_so_and_its_keys_are_inert(
    small_world: Database,
) -> None:
    async with of(small_world).run_test(size=(59, 24)) as pilot:
        await pilot.pause()
        assert isinstance(pilot.app.screen, TooSmall)
        await pilot.press("enter", "t", "slash", "question_mark", "escape")
        assert isinstance(pilot.app.screen, TooSmall)
        assert pilot.app.theme == theme.DARK
        await pilot.resize_terminal(80, 24)
        await pilot.pause()
        await settled(pilot)
        assert "eu-1" in on_screen(pilot)


async def test_read_only_says_so_and_the_session_cannot_write(small_world: Database) -> None:
    async with of(small_world, read_only=True).run_test() as pilot:
        await settled(pilot)
        assert on_screen(pilot).splitlines()[0].rstrip().endswith("RO")
        who = app_of(pilot).who
        assert who is not None
        assert who.read_only


async def test_the_row_that_left_is_named(small_world: Database) -> None:
    connection = small_world.connect()
    async with of(small_world).run_test() as pilot:
        await settled(pilot)
        connection.execute("UPDATE hopsmeter.hopsworks_clusters SET status = 'removed'")
        await settled(pilot)
        assert "eu-1 is no longer in the list" in said(pilot)


async def test_crumbs_lead_back_at_a_click(small_world: Database) -> None:
    async with of(small_world).run_test() as pilot:
        await settled(pilot)
        await pilot.press("enter")
        await settled(pilot)
        await pilot.click("#crumbs", offset=(3, 0))
        assert len(app_of(pilot).views) == 1


async def test_the_whole_story_fits_at_every_size(database: Database) -> None:
    connection = database.connect()
    with connection.transaction():
        tell(connection)
    async with of(database).run_test(size=(80, 24)) as pilot:
        for size in ((80, 24), (120, 36), (160, 45), (60, 15)):
            await pilot.resize_terminal(*size)
            await settled(pilot)
            text = on_screen(pilot)
            assert text.count("eu-north-1") >= 2
            assert re.search(r"179 USD|178.84 USD", text)
            assert "dmitri.k@" in text


async def test_news_while_the_screen_is_taken_down_is_nobodys(small_world: Database) -> None:
    async with of(small_world).run_test() as pilot:
        await settled(pilot)
        view, answer = (
            app_of(pilot).views[-1],
            feeds.Overview((), (), NOW, (), (), (), None, "none"),
        )
        taken_down = view.remove()
        view.show_link()
        view.show_crumbs()
        view.receive(answer, NOW)
        await taken_down
        assert not view.query("#header")
        view.show_link()
        view.show_crumbs()
        view.receive(answer, NOW)


async def test_news_that_is_faster_than_the_frame_waits_for_it(small_world: Database) -> None:
    async with of(small_world).run_test() as pilot:
        await settled(pilot)
        app = app_of(pilot)
        app.visit(feeds.ClusterPage("eu-1"))
        app.on_lost(feeds.Lost("gone.", NOW))
        await until(pilot, lambda: "ml-train" in on_screen(pilot))
        assert "Connection lost" not in on_screen(pilot)


@pytest.mark.parametrize("size", [(80, 24), (100, 30)])
async def test_the_signs_of_the_map_are_explained_at_the_usual_sizes(
    database: Database, size: tuple[int, int]
) -> None:
    add_window(database.connect(), add_cluster(database.connect()), NEWEST, "collected")
    async with of(database).run_test(size=size) as pilot:
        await settled(pilot)
        assert "(read again after a day)" in on_screen(pilot)
        await pilot.press("question_mark")
        await pilot.pause()
        text = on_screen(pilot)
        assert all(sign.meaning in text for sign in signs.HOURS.values() if sign.word)
