"""Credits and accounts on the command line: given, taken, shown, and what cannot be meant."""

import csv
import io
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from core.clock import utc_now
from tests.core.billing.ledger_site import bill, granted, pays
from tests.core.commands.carrier import carrying, publish, with_admin
from tests.core.metering.site import Site, hour, site
from tests.database import Database
from tests.factories import NOW, User, add_cluster, add_user
from tests.tui.cli.conftest import Run, thin
from tui.cli import session as sessions

__all__ = ["site"]

ANNA = "anna@example.test"
WHY = ("--reason", "agreed")


@pytest.fixture
def anna(database: Database) -> Iterator[Any]:
    """An account without a currency yet, an admin who asks, and a daemon's side that carries out."""
    connection = with_admin(database)
    add_user(connection)
    add_user(connection, "max@example.test", account_owner_id="auth0|anna")
    with carrying(database, publish(database)):
        yield connection


def shown(run: Run, who: str = ANNA) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(run("credits", "show", who, "--json").stdout)
    return told


def test_credits_are_granted_taken_and_shown_with_the_difference(run: Run, anna: Any) -> None:
    words = ("credits", "grant", ANNA, "50", "--expires", "2026-07-01", "--currency", "EUR", *WHY)
    tried, granted_ = run(*words, "--dry-run"), run(*words)
    taken = run("credits", "adjust", ANNA, "-12.5", *WHY)
    given = run("credits", "adjust", ANNA, "0.000000001", *WHY)
    assert tried.stdout.splitlines() == [
        "auth0|anna is granted 50.00 EUR of credits, which pay the days before 2026-07-01.",
        "  credits: 0.00 → 50.00",
        "A dry run: nothing was changed.",
    ]
    assert granted_.stdout.splitlines() == [
        "auth0|anna is granted 50.00 EUR of credits (lot 2), which pay the days before 2026-07-01.",
        "  credits: 0.00 → 50.00",
    ]
    assert taken.stdout.splitlines() == [
        "12.50 EUR of credits are taken from auth0|anna.",
        "  credits: 50.00 → 37.50",
    ]
    assert "  credits: 37.50 → 37.500000001" in given.stdout
    found = shown(run)
    assert (found["granted_nano"], found["credits_nano"]) == (37_500_000_001, 37_500_000_001)
    assert [(each["remaining_nano"], each["expires_on"]) for each in found["lots"]] == [
        (37_500_000_000, "2026-07-01"),
        (1, None),
    ]
    assert len(list(csv.reader(io.StringIO(run("credits", "show", ANNA, "--csv").stdout)))) == 3
    (line,) = csv.DictReader(io.StringIO(run("credits", "show", "--all", "--csv").stdout))
    assert (line["account_id"], line["credits"]) == ("auth0|anna", "37.500000001")
    told = thin(run("credits", "show", ANNA).stdout)
    assert "37.50 EUR" in told
    assert "never: a postpaid account does not use them" in told
    assert "once prepaid, stops when credits are gone; nobody is told" in told


def test_the_books_of_an_account_are_read_by_admins_and_by_its_owner(run: Run, anna: Any) -> None:
    run("credits", "grant", ANNA, "50", "--currency", "EUR", *WHY)
    add_user(anna, "ben@example.test")
    for one in (("credits", "show"), ("credits", "statement"), ("account", "show")):
        anna.execute("UPDATE logins SET user_id = 'auth0|ben' WHERE user_id = 'auth0|boss'")
        refused = run(*one, ANNA, exit_code=1).stderr
        assert "Only an admin, or auth0|anna itself, may read the books of auth0|anna" in refused
        run(*one, "ben@example.test")
        anna.execute("UPDATE logins SET user_id = 'auth0|boss' WHERE user_id = 'auth0|ben'")
        run(*one, ANNA)
    anna.execute("UPDATE logins SET user_id = 'auth0|ben'")
    for all_ in (("credits", "show", "--all"), ("account", "list")):
        assert "Only an admin may read the books of all" in run(*all_, exit_code=1).stderr
    foreign = run("--as", "auth0|anna", "credits", "show", ANNA, exit_code=1).stderr
    assert "may not act for auth0|anna" in foreign


def test_the_same_key_again_posts_nothing_and_says_so(run: Run, anna: Any) -> None:
    words = ("credits", "grant", ANNA, "50", "--currency", "EUR", "--key", "trial", *WHY)
    run(*words)
    again = run(*words)
    assert again.stdout.startswith("The same was posted under the key trial before: nothing is")
    assert "  credits: 50.00 → 50.00" in again.stdout
    other = run("credits", "grant", ANNA, "51", "--key", "trial", *WHY, exit_code=1)
    assert "The key trial was used for another post" in other.stderr
    assert shown(run)["credits_nano"] == 50 * 10**9


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("credits", "grant", ANNA, "-5"), "more than zero"),
        (("credits", "grant", ANNA, "0"), "more than zero"),
        (("credits", "grant", ANNA, "ten"), "'ten' is no amount; write it like 25"),
        (("credits", "grant", ANNA, "1.0000000001"), "at most 9 decimals"),
        (("credits", "grant", ANNA, "99999999"), "At most 9 223 372 units"),
        (("credits", "grant", ANNA, "99999999999"), "99999999999 is more than the books hold"),
        (("credits", "grant", "nobody", "5"), "There is no user 'nobody'"),
        (("credits", "grant", "max@example.test", "5"), "account is auth0|anna; name that one"),
        (("credits", "grant", ANNA, "5", "--expires", "2026-03-03"), "name 2026-03-04 or a later"),
        (("credits", "grant", ANNA, "5", "--currency", "USD"), "is in EUR, not in USD"),
        (("credits", "grant", ANNA, "5", "--currency", "euro"), "'euro' is no currency; write it"),
        (("credits", "grant", ANNA, "5", "--priority", "-1"), "a number from 0 (used first)"),
        (("credits", "grant", ANNA, "5", "--key", "expiry:1"), "choose another"),
        (("credits", "adjust", ANNA, "-7"), "has 6.00 EUR of credits"),
        (("credits", "adjust", ANNA, "0"), "0 adjusts nothing"),
        (("credits", "adjust", ANNA, "-1", "--currency", "USD"), "is in EUR, not in USD"),
        (
            ("credits", "expire", ANNA, "--lot", "77"),
            "has no lot 77; `hopsmeter credits show 'auth0|anna'`",
        ),
        (
            ("account", "mode", ANNA, "prepaid", "--from", "2026-03-03"),
            "2026-03-04 at the earliest",
        ),
        (("account", "mode", ANNA, "postpaid"), "pays postpaid from 2026-03-04 on already"),
        (("account", "mode", "max@example.test", "prepaid"), "name that one"),
        (("account", "policy", ANNA, "--grace", "-1"), "0, which is to stop, or more"),
        (("account", "policy", ANNA, "--warn-below", "0"), "more than zero"),
        (("account", "settle-arrears", ANNA), "owes no arrears"),
    ],
)
def test_what_cannot_be_meant_is_one_sentence_and_changes_nothing(
    run: Run, anna: Any, words: tuple[str, ...], said: str
) -> None:
    run("credits", "grant", ANNA, "6", "--currency", "EUR", *WHY)
    before = shown(run)
    refused = run(*words, *WHY, exit_code=1)
    assert said in thin(refused.stderr)
    assert refused.stderr.count("\n") == 1
    assert shown(run) == before
    assert anna.execute("SELECT count(*) FROM audit_log WHERE why = 'agreed'").fetchone() == (1,)


@pytest.mark.parametrize(
    "words",
    [
        ("credits", "grant", ANNA, "5"),
        ("credits", "grant", ANNA, "5", "--expires", "soon", *WHY),
        ("credits", "show"),
        ("credits", "show", ANNA, "--all"),
        ("credits", "show", "--all", "--at", "2026-03-01"),
        ("credits", "show", ANNA, "--at", "noon"),
        ("credits", "expire", ANNA, *WHY),
        ("account", "mode", ANNA, "free", *WHY),
        ("account", "policy", ANNA, *WHY),
        ("account", "policy", ANNA, "--stop", "--grace", "5", *WHY),
    ],
)
def test_what_is_not_understood_never_reaches_the_daemon(
    run: Run, anna: Any, words: tuple[str, ...]
) -> None:
    run(*words, exit_code=2)
    assert anna.execute("SELECT count(*) FROM commands").fetchone() == (0,)


def test_an_amount_without_a_currency_is_refused_until_one_is_known(run: Run, anna: Any) -> None:
    for words in (
        ("credits", "grant", ANNA, "5", *WHY),
        ("account", "policy", ANNA, "--grace", "5", *WHY),
    ):
        assert "has no currency yet: say which" in run(*words, exit_code=1).stderr
    run("account", "policy", ANNA, "--stop", "--warn-below", "none", *WHY)


def test_an_account_is_told_how_it_pays_and_may_owe(run: Run, anna: Any) -> None:
    run("credits", "grant", ANNA, "6", "--currency", "EUR", *WHY)
    tried = run("account", "mode", ANNA, "prepaid", *WHY, "--dry-run")
    changed = run("account", "mode", ANNA, "prepaid", *WHY)
    later = run("account", "mode", ANNA, "hybrid", "--from", "2026-04-01", *WHY)
    instead = run("account", "mode", ANNA, "hybrid", "--from", "2026-03-20", *WHY)
    limits = run("account", "policy", ANNA, "--grace", "50", "--warn-below", "20.5", *WHY)
    assert changed.stdout.splitlines() == [
        "auth0|anna pays prepaid from 2026-03-04 on.",
        "  mode: postpaid → prepaid",
    ]
    assert changed.stdout in tried.stdout
    assert "  mode: prepaid → hybrid" in later.stdout
    assert "and not hybrid as was set to begin later" in instead.stdout
    assert limits.stdout.splitlines() == [
        "auth0|anna may owe 50.00 EUR of arrears; below 20.50 EUR somebody is warned.",
        "  grace: 0.00 → 50.00",
        "  warn_below: (none) → 20.50",
    ]
    told = thin(run("account", "show", ANNA).stdout)
    assert "postpaid; prepaid from 2026-03-04 on" in told
    assert "may owe 50.00 EUR; told below 20.50 EUR" in told
    found = json.loads(run("account", "show", ANNA, "--json").stdout)
    assert [(each["mode"], each["since"], each["until"]) for each in found["modes"]] == [
        ("hybrid", "2026-03-20", None),
        ("prepaid", "2026-03-04", "2026-03-20"),
    ]
    listed = json.loads(run("account", "list", "--json").stdout)
    assert [(each["email"], each["next_mode"]) for each in listed] == [
        (ANNA, "prepaid"),
        ("boss@example.test", None),
    ]
    assert "prepaid 2026-03-04" in run("account", "list").stdout
    assert len(list(csv.reader(io.StringIO(run("account", "list", "--csv").stdout)))) == 3


def test_a_statement_says_which_lots_paid_and_what_is_left(
    run: Run, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_admin(site.database)
    add_cluster(site.connection)
    anna = site.user()
    site.map("a", anna, 0)
    pays(site, anna, "prepaid", 0)
    granted(site, anna, 1, expires=9)
    granted(site, anna, 5)
    bill(site, {"a": 0.75}, 0)
    bill(site, {"a": 1.5}, 1)
    granted(site, anna, 2)
    bill(site, {"a": 6}, 24)
    monkeypatch.setattr(sessions, "utc_now", lambda: site.now)
    found = json.loads(run("credits", "statement", ANNA, "--month", "2026-03", "--json").stdout)
    unit = 10**9
    assert [
        (
            each["what"],
            each["credits_nano"] / unit,
            each["credits_after_nano"] / unit,
            each["arrears_after_nano"] / unit,
            [(draw["lot"], draw["amount_nano"] / unit) for draw in each["draws"]],
        )
        for each in found["lines"]
    ] == [
        ("grant", 1, 1, 0, [(1, 1)]),
        ("grant", 5, 6, 0, [(2, 5)]),
        ("charges of 2026-03-01", -2.25, 3.75, 0, [(1, -1), (2, -1.25)]),
        ("grant", 2, 5.75, 0, [(3, 2)]),
        ("charges of 2026-03-02", -5.75, 0, 0.25, [(2, -3.75), (3, -2)]),
    ]
    told = thin(run("credits", "statement", ANNA, "--month", "2026-03").stdout)
    assert "lot 1: -1.00, lot 2: -1.25" in told
    each = run("credits", "statement", ANNA, "--month", "2026-03", "--entries", "--csv").stdout
    rows = list(csv.DictReader(io.StringIO(each)))
    assert [row["charge"] for row in rows if row["usage_day"]] == [
        "0.750000000",
        "1.500000000",
        "5.750000000",
        "0.250000000",
    ]
    assert rows[-2]["draws"] == "lot 2: -3.75, lot 3: -2.00"
    april = thin(run("credits", "statement", ANNA, "--month", "2026-04").stdout)
    assert "arrears before     0.25 USD" in april
    assert "Nothing was posted in 2026-04." in april
    owing = thin(run("credits", "show", ANNA).stdout)
    assert "beyond its limit, to be suspended since" in owing
    listed = thin(run("credits", "show", "--all").stdout)
    assert "0.25 USD" in listed


def test_arrears_are_settled_once_prepaid_is_left(run: Run, site: Site, anna: Any) -> None:
    add_cluster(site.connection)
    user = User(site.value("SELECT no FROM users WHERE email = %s", ANNA), "auth0|anna", ANNA)
    site.map("a", user, 0)
    pays(site, user, "prepaid", 0)
    bill(site, {"a": 2.5}, 0)
    refused = run("account", "settle-arrears", ANNA, *WHY, exit_code=1)
    assert "pays prepaid today: its next credits repay the arrears" in refused.stderr
    left = run("account", "mode", ANNA, "postpaid", *WHY)
    assert "It owes 2.50 USD of arrears: once it pays postpaid" in left.stdout
    site.connection.execute("DELETE FROM billing_modes")
    tried = run("account", "settle-arrears", ANNA, *WHY, "--dry-run")
    settled = run("account", "settle-arrears", ANNA, *WHY)
    assert settled.stdout.splitlines() == [
        (
            "2.50 USD of arrears of auth0|anna are receivable from now on, on the statement of"
            " 2026-03-03."
        ),
        "  arrears: 2.50 → 0.00",
        "  receivable: 0.00 → 2.50",
    ]
    assert settled.stdout in tried.stdout
    found = shown(run)
    assert (found["arrears_nano"], found["receivable_nano"], found["beyond_at"]) == (
        0,
        25 * 10**8,
        None,
    )
    site.now = max(site.now, NOW)
    site.open_windows()
    site.must_balance()


def test_a_lot_that_an_admin_lets_expire_is_gone_with_the_reason(run: Run, anna: Any) -> None:
    run("credits", "grant", ANNA, "6", "--currency", "EUR", "--expires", "2026-05-01", *WHY)
    tried = run("credits", "expire", ANNA, "--lot", "1", "--reason", "trial ended", "--dry-run")
    gone = run("credits", "expire", ANNA, "--lot", "1", "--reason", "trial ended")
    assert gone.stdout.splitlines() == [
        (
            "Lot 1 of auth0|anna expires now, and 6.00 EUR with it (its date was 2026-05-01); what a"
            " correction returns to it will expire as well."
        ),
        "  credits: 6.00 → 0.00",
    ]
    assert gone.stdout in tried.stdout
    again = run("credits", "expire", ANNA, "--lot", "1", *WHY, exit_code=1)
    assert f"Lot 1 expired on {utc_now().date()} already" in again.stderr
    found = shown(run)
    assert (found["expired_nano"], found["credits_nano"]) == (6 * 10**9, 0)
    assert anna.execute("SELECT memo FROM ledger_entries WHERE contra = 14").fetchone() == (
        "trial ended",
    )
    assert anna.execute(
        "SELECT actor, why FROM audit_log WHERE action = 'credits.expire'"
    ).fetchone() == ("auth0|boss", "trial ended")
    assert f"expired {utc_now().date()}" in run("credits", "show", ANNA).stdout


def test_a_lot_expires_once_under_a_key(run: Run, anna: Any) -> None:
    for key in ("first", "second"):
        run("credits", "grant", ANNA, "6", "--currency", "EUR", "--key", key, *WHY)
    words = ("credits", "expire", ANNA, "--lot", "1", *WHY)
    run(*words, "--key", "over")
    again = run(*words, "--key", "over").stdout
    assert again.splitlines() == [
        "The same was posted under the key over before: nothing is posted now.",
        "  credits: 6.00 → 6.00",
    ]
    assert run(*words, "--key", "over", "--dry-run").stdout.startswith(again)
    used = "was used for another post of this account; use one of its own. Nothing was changed."
    for lot, key in (("2", "over"), ("2", "first"), ("1", "second")):
        refused = run("credits", "expire", ANNA, "--lot", lot, "--key", key, *WHY, exit_code=1)
        assert f"The key {key} {used}" in refused.stderr
    for post in (("grant", ANNA, "6"), ("adjust", ANNA, "6"), ("adjust", ANNA, "-6")):
        refused = run("credits", *post, "--key", "over", *WHY, exit_code=1)
        assert f"The key over {used}" in refused.stderr
    assert "already" in run(*words, "--key", "late", exit_code=1).stderr
    assert "which are ours" in run(*words, "--key", "expiry:1", exit_code=1).stderr
    assert shown(run)["credits_nano"] == 6 * 10**9
    told = anna.execute("SELECT count(*) FROM ledger_entries WHERE contra = 14")
    assert told.fetchone() == (1,)


def test_a_time_to_come_is_refused_and_a_past_one_is_shown(
    run: Run, anna: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("credits", "grant", ANNA, "6", "--currency", "EUR", *WHY)
    between = utc_now()
    run("credits", "adjust", ANNA, "-2", *WHY)
    assert "still to come" in run("credits", "show", ANNA, "--at", "2026-03-04", exit_code=1).stderr
    monkeypatch.setattr(sessions, "utc_now", lambda: utc_now() + timedelta(seconds=1))
    past = json.loads(run("credits", "show", ANNA, "--at", between.isoformat(), "--json").stdout)
    assert (past["credits_nano"], past["lots"][0]["remaining_nano"]) == (6 * 10**9, 6 * 10**9)
    assert shown(run)["credits_nano"] == 4 * 10**9
    told = thin(run("credits", "show", ANNA, "--at", between.isoformat()).stdout)
    assert "6.00 EUR" in told
    assert hour(0) < between
