"""The proof of the ledger: whatever an owner changes with the triggers off is named by its row."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from core.billing.marks import mark_accounts
from core.db.roles import DAEMON, ensure_roles
from tests.core.billing.ledger_site import day, expire, granted, pays, refunded
from tests.core.metering.site import FIRST, Begun, Site, hour
from tests.database import Connection
from tests.factories import User

REFUSED = psycopg.errors.InsufficientPrivilege
ANNA, BEN, CARA = "auth0|anna", "auth0|ben", "auth0|cara"


@pytest.fixture
def ledger(begun: Begun) -> Iterator[Site]:
    with begun.after(all_kinds) as (site, _):
        yield site


def all_kinds(site: Site) -> None:
    """Books with an entry of each kind: draws, arrears that were repaid, a refund, an expiry."""
    site.cluster()
    anna, ben, cara = site.user(), site.user("ben"), site.user("cara")
    for namespace, user in (("a", anna), ("b", ben), ("c", cara)):
        site.map(namespace, user, 0)
    for account in (anna, cara):
        pays(site, account, "prepaid", 0)
    _grant(site, anna, cara)
    for number, cost in ((0, 1.0), (1, 2.0), (24, 4.0), (25, 0.5)):
        _use(site, number, {"a": cost, "b": 2 * cost, "c": cost / 4})
    granted(site, anna, 20, key="late")
    _use(site, 0, {"a": 0.25, "b": 2.5, "c": 0.5})
    bought = site.value("SELECT id FROM credit_lots WHERE kind = 'purchase'")
    refunded(site, anna, 2, "re_1", bought)
    site.now = FIRST + timedelta(days=6)
    site.open_windows()
    expire(site)
    mark_accounts(site.connection, site.now)
    site.must_balance()


def _grant(site: Site, anna: User, cara: User) -> None:
    granted(site, anna, 1.5, expires=1, key="welcome")
    granted(site, anna, 3, bought=True, key="pi_1")
    granted(site, cara, 9, expires=2, key="gift")
    granted(site, cara, 1, key="more")


def _use(site: Site, number: int, costs: dict[str, float]) -> None:
    site.say(costs, number)
    site.now = max(site.now, hour(number) + timedelta(minutes=75))
    site.collect()
    site.again(number)
    site.collect()
    site.post()


def owner_without_triggers(site: Site) -> Connection:
    """Whom nothing holds back but the constraints of a row."""
    database = site.database
    return psycopg.connect(
        database.server.superuser_url_of(database.name),
        autocommit=True,
        options="-c search_path=hopsmeter -c session_replication_role=replica",
    )


def corrupt(site: Site, *statements: str) -> None:
    with owner_without_triggers(site) as owner:
        for statement in statements:
            assert owner.execute(statement.encode()).rowcount >= 1, statement


def wrong(site: Site, **how: Any) -> dict[int, tuple[str, ...]]:
    return {line.number: line.rows for line in site.books(**how) if not line.ok}


def first(condition: str) -> str:
    return f"id = (SELECT min(id) FROM ledger_entries WHERE {condition})"


ACCOUNT = {name: f"(SELECT no FROM users WHERE id = '{name}')" for name in (ANNA, BEN, CARA)}
BEN_CHARGE = first(f"account_no = {ACCOUNT[BEN]}")
ENTRY = {
    name: f"(SELECT min(id) FROM ledger_entries WHERE account_no = {no} AND book = 1 AND contra = 11)"
    for name, no in ACCOUNT.items()
}
SECOND_DAY = "usage_day = '2026-03-02'"
LOT = {key: f"(SELECT l.id FROM credit_lots l JOIN ledger_entries e ON e.id = entry_id WHERE ref = '{key}')"
       for key in ("welcome", "pi_1", "gift", "more", "late")}  # fmt: skip
COPY = (
    "INSERT INTO ledger_entries (amount_nano, account_no, book, contra, posted_on, usage_day,"
    " posting_no, ref) SELECT {}, account_no, book, contra, posted_on, usage_day, {}, {}"
    " FROM ledger_entries WHERE {}"
)
DRAW_OF_ANNA = f"entry_id = {ENTRY[ANNA]}"

CORRUPTIONS: dict[str, tuple[list[str], int, str]] = {
    # ── 4: entries against charges ──
    "a charge's amount": (
        [f"UPDATE ledger_entries SET amount_nano = amount_nano - 1 WHERE {BEN_CHARGE}"],
        4,
        f"{BEN} 2026-03-01: charged",
    ),
    "a charge and its balance": (
        [
            f"UPDATE ledger_entries SET amount_nano = amount_nano - 1 WHERE {BEN_CHARGE}",
            (
                "UPDATE ledger_balances SET balance_nano = balance_nano - 1"
                f" WHERE account_no = {ACCOUNT[BEN]} AND book = 2"
            ),
        ],
        4,
        f"{BEN} 2026-03-01: charged",
    ),
    "a charge that is gone": (
        [f"DELETE FROM ledger_entries WHERE {BEN_CHARGE}"],
        4,
        f"{BEN} 2026-03-01: charged",
    ),
    "all charges of a day that are gone": (
        [f"DELETE FROM ledger_entries WHERE account_no = {ACCOUNT[BEN]} AND {SECOND_DAY}"],
        4,
        f"{BEN} 2026-03-02: charged",
    ),
    "a charge too many": (
        [COPY.format("-5", "posting_no + 90", "NULL", BEN_CHARGE)],
        4,
        f"{BEN} 2026-03-01: charged",
    ),
    "two entries that cancel each other": (
        [
            COPY.format("-5", "posting_no + 90", "NULL", BEN_CHARGE),
            COPY.format("5", "posting_no + 91", "NULL", BEN_CHARGE),
        ],
        4,
        "posting 91 of 2026-03-01: it wrote 0 entries, and there are 1",
    ),
    "an entry under another posting": (
        [f"UPDATE ledger_entries SET posting_no = 90 WHERE {BEN_CHARGE}"],
        4,
        "posting 90 of 2026-03-01",
    ),
    "a charge of another day": (
        [f"UPDATE ledger_entries SET usage_day = '2026-03-02', posting_no = 90 WHERE {BEN_CHARGE}"],
        4,
        f"{BEN} 2026-03-02: charged",
    ),
    "a charge of a day that had none": (
        [f"UPDATE ledger_entries SET usage_day = '2026-03-04' WHERE {BEN_CHARGE}"],
        4,
        f"{BEN} 2026-03-04: charged 0.",
    ),
    "a charge of another account": (
        [
            f"UPDATE ledger_entries SET account_no = {ACCOUNT[CARA]}, posting_no = 90 WHERE {BEN_CHARGE}"
        ],
        4,
        f"{CARA} 2026-03-01: charged",
    ),
    "a charge of an account that is not there": (
        [f"UPDATE ledger_entries SET account_no = 99 WHERE {BEN_CHARGE}"],
        4,
        "account 99 2026-03-01: charged 0.",
    ),
    "a charge against another code": (
        [f"UPDATE ledger_entries SET contra = 13 WHERE {BEN_CHARGE}"],
        4,
        f"{BEN} 2026-03-01: charged",
    ),
    "a charge that stands in another month": (
        [f"UPDATE ledger_entries SET posted_on = '2026-04-01' WHERE {BEN_CHARGE}"],
        4,
        "of 2026-03-01, and posted on 2026-04-01",
    ),
    "an entry in a month that was closed before it": (
        [
            (
                "INSERT INTO closed_months (month, closed_at, closed_by)"
                " VALUES ('2026-02-01', '2026-01-01', 'x')"
            ),
            "UPDATE ledger_entries SET posted_on = '2026-02-28' WHERE ref = 'pi_1'",
        ],
        4,
        f"{ANNA}, entry",
    ),
    "an account of another currency": (
        [f"UPDATE users SET currency = 'EUR' WHERE id = '{BEN}'"],
        4,
        f"{BEN} is in EUR, and eu-1 bills in USD",
    ),
    "a cluster of another currency": (
        ["UPDATE hopsworks_clusters SET currency = 'EUR'"],
        4,
        f"{BEN} is in USD, and eu-1 bills in EUR",
    ),
    # ── 5: balances ──
    "a balance": (
        [
            (
                "UPDATE ledger_balances SET balance_nano = balance_nano + 1"
                f" WHERE account_no = {ACCOUNT[BEN]} AND book = 2"
            )
        ],
        5,
        f"{BEN}, receivable: the balance is",
    ),
    "a balance that is gone": (
        [f"DELETE FROM ledger_balances WHERE account_no = {ACCOUNT[BEN]} AND book = 2"],
        5,
        f"{BEN}, receivable: the balance is 0.000000000",
    ),
    "a balance moved between books": (
        [
            (
                "UPDATE ledger_balances SET balance_nano = balance_nano + CASE book WHEN 2 THEN -1 ELSE 1"
                f" END WHERE account_no = {ACCOUNT[BEN]} AND book IN (2, 3)"
            )
        ],
        5,
        f"{BEN}, arrears: the balance is 0.000000001",
    ),
    "a balance moved between accounts": (
        [
            (
                f"UPDATE ledger_balances SET balance_nano = balance_nano + CASE account_no WHEN {ACCOUNT[BEN]}"
                f" THEN 1 ELSE -1 END WHERE account_no IN ({ACCOUNT[BEN]}, {ACCOUNT[CARA]}) AND book = 2"
            )
        ],
        5,
        f"{CARA}, receivable: the balance is -0.000000001",
    ),
    "a balance of an account that is not there": (
        ["INSERT INTO ledger_balances VALUES (99, 2, -5)"],
        5,
        "account 99, receivable",
    ),
    "a purchase's amount": (
        ["UPDATE ledger_entries SET amount_nano = amount_nano + 1 WHERE ref = 'pi_1'"],
        5,
        f"{ANNA}, credits: the balance is",
    ),
    "a purchase that is gone": (
        ["DELETE FROM ledger_entries WHERE ref = 'pi_1'"],
        5,
        f"{ANNA}, credits: the balance is",
    ),
    "a repayment that is gone": (
        ["DELETE FROM ledger_entries WHERE book = 3 AND contra = 1"],
        5,
        f"{ANNA}, arrears: the balance is",
    ),
    "a grant too many": (
        [COPY.format("amount_nano", "NULL", "'again'", "ref = 'gift'")],
        5,
        f"{CARA}, credits: the balance is",
    ),
    "a book that is gone with nothing in it": (
        [f"DELETE FROM ledger_balances WHERE account_no = {ACCOUNT[BEN]} AND book = 1"],
        5,
        f"{BEN}, credits: there is no such book",
    ),
    # ── 5: what the trail tells ──
    "a grant that is gone with all that came of it": (
        [
            f"UPDATE ledger_balances SET balance_nano = 0 WHERE account_no = {ACCOUNT[CARA]} AND book = 1",
            f"DELETE FROM credit_lots WHERE id = {LOT['more']}",
            "DELETE FROM ledger_entries WHERE ref = 'more'",
        ],
        5,
        f"{CARA}, key more: the trail says 1.000000000 USD, the ledger nothing",
    ),
    "a key, under which the same could be granted again": (
        ["UPDATE ledger_entries SET ref = 'other' WHERE ref = 'more'"],
        5,
        f"{CARA}, key more: the trail says 1.000000000 USD, the ledger nothing",
    ),
    "a currency of credits": (
        [f"UPDATE users SET currency = 'EUR' WHERE id = '{CARA}'"],
        5,
        f"{CARA}, key more: the trail says 1.000000000 USD, the ledger 1.000000000 EUR",
    ),
    "a gift and its lot made a purchase": (
        [
            "UPDATE ledger_entries SET contra = 12 WHERE ref = 'more'",
            f"UPDATE credit_lots SET kind = 'purchase' WHERE id = {LOT['more']}",
        ],
        5,
        "the trail says credits.grant",
    ),
    # ── 5: shapes ──
    "a book that there is none of": (
        [f"UPDATE ledger_entries SET book = 7 WHERE {BEN_CHARGE}"],
        5,
        f"{BEN}, entry",
    ),
    "a code that there is none of": (
        ["UPDATE ledger_entries SET contra = 99 WHERE ref = 're_1'"],
        5,
        "between 1 and 99 so",
    ),
    "a purchase made a gift": (
        ["UPDATE ledger_entries SET contra = 13 WHERE ref = 'pi_1'"],
        5,
        "its entry is no purchase",
    ),
    "a purchase and its lot made a charge": (
        ["UPDATE ledger_entries SET contra = 11 WHERE ref = 'pi_1'"],
        5,
        "between 1 and 11 so",
    ),
    "an expiry made a gift taken back": (
        ["UPDATE ledger_entries SET contra = 13 WHERE ref LIKE 'expiry:%'"],
        5,
        f"{CARA}, entry",
    ),
    "an original that there is none of": (
        ["UPDATE ledger_entries SET reverses = 9999 WHERE ref = 're_1'"],
        5,
        f"{ANNA}, entry",
    ),
    "a currency that is gone": (
        [f"UPDATE users SET currency = NULL WHERE id = '{CARA}'"],
        5,
        f"{CARA}: has entries, and no currency",
    ),
    # ── 5: lots ──
    "a lot's rest": (
        [f"UPDATE credit_lots SET remaining_nano = remaining_nano - 1 WHERE id = {LOT['more']}"],
        5,
        f"{CARA}, lot",
    ),
    "a lot's amount and rest": (
        [
            (
                "UPDATE credit_lots SET remaining_nano = remaining_nano + 1,"
                f" amount_nano = amount_nano + 1 WHERE id = {LOT['more']}"
            )
        ],
        5,
        "moved 1.000000000 of credits, in lots 1.000000001",
    ),
    "a rest moved between lots": (
        [
            (
                f"UPDATE credit_lots SET amount_nano = amount_nano + 1, remaining_nano = remaining_nano + 1"
                f" WHERE id = {LOT['late']}"
            ),
            (
                f"UPDATE credit_lots SET remaining_nano = remaining_nano - 1, amount_nano = amount_nano - 1"
                f" WHERE id = {LOT['more']}"
            ),
        ],
        5,
        f"{CARA}: credits 1.000000000, in lots 0.999999999",
    ),
    "a lot that is gone": (
        [f"DELETE FROM credit_lots WHERE id = {LOT['more']}"],
        5,
        f"{CARA}: credits 1.000000000, in lots 0.000000000",
    ),
    "a lot of another account": (
        [f"UPDATE credit_lots SET account_no = {ACCOUNT[BEN]} WHERE id = {LOT['more']}"],
        5,
        f"{BEN}, lot",
    ),
    "a lot of another kind": (
        [f"UPDATE credit_lots SET kind = 'purchase' WHERE id = {LOT['more']}"],
        5,
        "its entry is no purchase",
    ),
    "a lot that lasts longer than was said": (
        [f"UPDATE credit_lots SET expires_on = NULL, expired_at = NULL WHERE id = {LOT['gift']}"],
        5,
        "until 2026-03-03",
    ),
    "a lot that expired before its day": (
        [f"UPDATE credit_lots SET expired_at = now() WHERE id = {LOT['pi_1']}"],
        5,
        "its expiry is posted before its day",
    ),
    "a lot that expired and still holds": (
        [
            "UPDATE credit_lots SET remaining_nano = 5 WHERE id = " + LOT["gift"],
        ],
        5,
        "its expiry is posted, and something is left",
    ),
    # ── 5: draws ──
    "a draw that is gone": (
        [f"DELETE FROM credit_draws WHERE {DRAW_OF_ANNA}"],
        5,
        f"{ANNA}, entry",
    ),
    "a draw that is doubled": (
        [f"UPDATE credit_draws SET amount_nano = 2 * amount_nano WHERE {DRAW_OF_ANNA}"],
        5,
        f"{ANNA}, lot",
    ),
    "a draw from another lot of the same account": (
        [
            (
                f"UPDATE credit_draws SET lot_id = {LOT['late']} WHERE {DRAW_OF_ANNA}"
                f" AND lot_id = {LOT['welcome']}"
            )
        ],
        5,
        "which was not to be had for it",
    ),
    "draws of two accounts exchanged, which leaves every sum as it was": (
        [
            f"INSERT INTO credit_draws SELECT {ENTRY[ANNA]}, {LOT['gift']}, -7",
            f"INSERT INTO credit_draws SELECT {ENTRY[CARA]}, {LOT['welcome']}, -7",
            (
                "UPDATE credit_draws SET amount_nano = amount_nano + 7"
                f" WHERE (entry_id, lot_id) IN (({ENTRY[ANNA]}, {LOT['welcome']}),"
                f" ({ENTRY[CARA]}, {LOT['gift']}))"
            ),
        ],
        5,
        "which was not to be had for it",
    ),
    "a draw of no entry": (
        [f"INSERT INTO credit_draws VALUES (9999, {LOT['more']}, -1)"],
        5,
        "no account, entry 9999",
    ),
    "a draw of no lot": (
        [
            f"UPDATE credit_draws SET lot_id = 9999 WHERE {DRAW_OF_ANNA} AND lot_id = {LOT['welcome']}"
        ],
        5,
        "from lot 9999, which was not to be had for it",
    ),
    "a draw from a lot past its date": (
        [
            f"UPDATE credit_lots SET expires_on = '2026-03-01' WHERE id = {LOT['welcome']}",
            (
                'UPDATE audit_log SET after = after || \'{"expires_on": "2026-03-01"}\''
                " WHERE after ->> 'key' = 'welcome'"
            ),
        ],
        5,
        "which was not to be had for it",
    ),
    "an expiry of another lot": (
        ["UPDATE ledger_entries SET ref = 'expiry:77' WHERE ref LIKE 'expiry:%'"],
        5,
        "which was not to be had for it",
    ),
    # ── 5: what follows from balances ──
    "credits beside arrears": (
        [
            (
                f"INSERT INTO ledger_entries (amount_nano, account_no, book, contra, posted_on, ref)"
                f" VALUES (-5, {ACCOUNT[CARA]}, 3, 15, '2026-03-05', 're_9')"
            ),
            f"UPDATE ledger_balances SET balance_nano = -5 WHERE account_no = {ACCOUNT[CARA]} AND book = 3",
        ],
        5,
        f"{CARA}: credits 1.000000000, in lots 1.000000000, arrears 0.000000005",
    ),
    "arrears that were repaid beyond nothing": (
        [
            (
                f"INSERT INTO ledger_entries (amount_nano, account_no, book, contra, posted_on, ref)"
                f" VALUES (5, {ACCOUNT[BEN]}, 3, 16, '2026-03-05', 're_9')"
            ),
            f"UPDATE ledger_balances SET balance_nano = 5 WHERE account_no = {ACCOUNT[BEN]} AND book = 3",
        ],
        5,
        f"{BEN}: credits 0.000000000, in lots 0.000000000, arrears -0.000000005",
    ),
    "arrears that were reported to Stripe": (
        [
            (
                f"INSERT INTO ledger_entries (amount_nano, account_no, book, contra, posted_on, ref)"
                f" VALUES (5, {ACCOUNT[BEN]}, 3, 16, '2026-03-05', 're_9')"
            )
        ],
        5,
        "no posting moves 0.000000005 between 3 and 16 so",
    ),
    "an account within its limit that is marked": (
        [
            f"UPDATE user_credits SET beyond_at = now() WHERE account_no = {ACCOUNT[CARA]}",
            f"UPDATE ledger_entries SET at = at - interval '1 day' WHERE account_no = {ACCOUNT[CARA]}",
        ],
        5,
        f"{CARA} owes 0.000000000, its limit is 0.000000000, and it is marked",
    ),
}


@pytest.mark.parametrize("what", CORRUPTIONS)
def test_whatever_is_changed_in_the_ledger_is_named(ledger: Site, what: str) -> None:
    statements, number, name = CORRUPTIONS[what]
    corrupt(ledger, *statements)
    found = wrong(ledger)
    assert number in found, found
    assert any(name in row for row in found[number]), found


def test_an_account_beyond_its_limit_that_nobody_marked_is_named(site: Site) -> None:
    site.cluster()
    anna = site.user()
    site.map("a", anna, 0)
    pays(site, anna, "prepaid", 0)
    _use(site, 0, {"a": 1.0})
    assert not wrong(site)
    corrupt(site, "UPDATE user_credits SET beyond_at = NULL")
    assert not wrong(site)
    corrupt(site, "UPDATE ledger_entries SET at = at - interval '11 minutes'")
    (row,) = wrong(site)[5]
    assert row.startswith(f"{anna.id} owes 1.018330000, its limit is 0.000000000, and it is not m")


def test_a_check_of_one_month_sees_the_whole_ledger_of_balances(ledger: Site) -> None:
    corrupt(ledger, *CORRUPTIONS["a balance"][0])
    assert list(wrong(ledger, month="2026-02")) == [5]
    assert day(0) == FIRST.date()


TABLES = {
    "ledger_entries": "amount_nano = 1",
    "credit_draws": "amount_nano = 1",
    "closed_months": "why = ''",
    "statements": "body = '{}'",
}
STATEMENTS = ("UPDATE {table} SET {change}", "DELETE FROM {table}", "TRUNCATE {table} CASCADE")


@pytest.fixture
def proved(ledger: Site) -> Site:
    """With a row in each table: a trigger for each row says nothing of none."""
    ledger.connection.execute(
        "INSERT INTO closed_months (month, closed_by) VALUES ('2026-02-01', 'auth0|admin')"
    )
    ledger.connection.execute(
        "INSERT INTO statements SELECT min(no), '2026-02-01', '{}', sha256('x') FROM users"
    )
    return ledger


@pytest.mark.parametrize("statement", STATEMENTS)
@pytest.mark.parametrize("table", TABLES)
def test_what_is_proved_is_append_only_for_the_owner_and_the_daemon(
    proved: Site, table: str, statement: str
) -> None:
    typed = statement.format(table=f"hopsmeter.{table}", change=TABLES[table]).encode()
    with pytest.raises(REFUSED, match="is append-only"):
        proved.connection.execute(typed)
    ensure_roles(proved.connection)
    with pytest.raises(REFUSED, match="permission denied"):
        proved.database.connect(role=DAEMON).execute(typed)
