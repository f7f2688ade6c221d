"""The proof of the books: green on good books, and each thing that can be wrong is named."""

import hashlib
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import zstandard

from core.books.checks import check_books
from core.clock import DAY
from core.errors import InputFault
from tests.answers import allocation, body_of
from tests.core.metering.site import FIRST, Begun, Site, away, hour


@pytest.fixture
def kept(begun: Begun) -> Iterator[Site]:
    with begun.after(some_of_each) as (site, _):
        yield site


def some_of_each(site: Site) -> None:
    """Books with something of each kind in them: 25 hours, one of them restated, a day closed."""
    site.cluster()
    anna, ben = site.user(), site.user("ben")
    site.map("a", anna, 0)
    site.map("b", ben, 0)
    for number in range(25):
        site.say({"a": 1, "b": 2 + number, "nobodys": 3}, number)
    site.until(24)
    site.collect()
    site.say({"a": 1.25, "b": 2, "nobodys": 3}, 0)
    site.again(0)
    site.collect()
    site.map("b", anna, 5)
    site.post()
    site.must_balance()


def wrong(site: Site, **how: Any) -> dict[int, tuple[str, ...]]:
    return {line.number: line.rows for line in site.books(**how) if not line.ok}


def corrupt(site: Site, statement: str, *parameters: Any) -> None:
    """Change the database behind the programs' back."""
    assert site.connection.execute(_typed(statement), parameters).rowcount >= 1


def _typed(statement: str) -> Any:
    return statement


NAMESPACE_A = "(SELECT id FROM namespaces WHERE name = 'a')"
CORRUPTIONS: dict[str, tuple[str, int, str]] = {
    "a total": (
        (
            f"UPDATE allocations SET total_nano = total_nano + 1 WHERE namespace_id = {NAMESPACE_A}"
            " AND hour = '2026-03-01 03:00Z'"
        ),
        1,
        "eu-1 2026-03-01T03Z",
    ),
    "a total and its rounding": (
        (
            "UPDATE allocations SET total_nano = total_nano + 1, rounding_nano = rounding_nano + 1"
            f" WHERE namespace_id = {NAMESPACE_A} AND hour = '2026-03-01 03:00Z'"
        ),
        1,
        "eu-1 2026-03-01T03Z",
    ),
    "money moved between namespaces": (
        (
            "UPDATE allocations SET total_nano = total_nano + d, cpu_nano = cpu_nano + d"
            f" FROM (VALUES ({NAMESPACE_A}, 5), ((SELECT id FROM namespaces WHERE name = 'b'), -5))"
            " v (n, d) WHERE namespace_id = n AND hour = '2026-03-01 03:00Z'"
        ),
        1,
        "stored 1018330005, OpenCost said 1018330000",
    ),
    "a kind": (
        (
            f"UPDATE allocations SET cpu_nano = cpu_nano - 1 WHERE namespace_id = {NAMESPACE_A}"
            " AND hour = '2026-03-01 03:00Z'"
        ),
        1,
        "eu-1 a 2026-03-01T03Z: kinds and rounding",
    ),
    "money moved between kinds": (
        (
            "UPDATE allocations SET cpu_nano = cpu_nano - 1, ram_nano = ram_nano + 1"
            f" WHERE namespace_id = {NAMESPACE_A} AND hour = '2026-03-01 03:00Z'"
        ),
        1,
        "eu-1 2026-03-01T03Z: a: cpu_nano is",
    ),
    "hours used": (
        (
            "UPDATE allocations SET cpu_core_hours_micro = cpu_core_hours_micro + 1"
            f" WHERE namespace_id = {NAMESPACE_A} AND hour = '2026-03-01 03:00Z'"
        ),
        1,
        "eu-1 2026-03-01T03Z: a: cpu_core_hours_micro is",
    ),
    "an answer that a window names and nobody gave": (
        (
            "UPDATE collection_windows SET raw_sha256 = sha256('forged')"
            " WHERE hour = '2026-03-01 03:00Z'"
        ),
        1,
        "eu-1 2026-03-01T03Z: the raw answer that it names is not there",
    ),
    "a raw answer that is gone": (
        "DELETE FROM raw_answers WHERE hour = '2026-03-01 03:00Z'",
        1,
        "eu-1 2026-03-01T03Z: the raw answer that it names is not there",
    ),
    "an allocation that is gone": (
        (
            f"DELETE FROM allocations WHERE namespace_id = {NAMESPACE_A}"
            " AND hour = '2026-03-01 03:00Z'"
        ),
        1,
        "eu-1 2026-03-01T03Z: 4 rows",
    ),
    "a window that forgets its allocations": (
        "UPDATE collection_windows SET revision = 0 WHERE hour = '2026-03-01 03:00Z'",
        1,
        "allocations without a collected hour",
    ),
    "a window's total": (
        (
            "UPDATE collection_windows SET total_nano = total_nano - 1"
            " WHERE hour = '2026-03-01 03:00Z'"
        ),
        1,
        "the window says",
    ),
    "the bytes of a raw answer": (
        (
            "UPDATE raw_answers SET body = set_byte(body, 30, get_byte(body, 30) # 255)"
            " WHERE hour = '2026-03-01 03:00Z'"
        ),
        1,
        "eu-1 2026-03-01T03Z",
    ),
    "a raw answer cut short": (
        (
            "UPDATE raw_answers SET body = substr(body, 1, length(body) - 9)"
            " WHERE hour = '2026-03-01 03:00Z'"
        ),
        1,
        "eu-1 2026-03-01T03Z",
    ),
    "an owner": (
        (
            f"UPDATE allocations SET user_no = 2, account_no = 2 WHERE namespace_id = {NAMESPACE_A}"
            " AND hour = '2026-03-01 03:00Z'"
        ),
        2,
        "eu-1 a 2026-03-01T03Z",
    ),
    "an account": (
        (
            f"UPDATE allocations SET account_no = 2 WHERE namespace_id = {NAMESPACE_A}"
            " AND hour = '2026-03-01 03:00Z'"
        ),
        2,
        "eu-1 a 2026-03-01T03Z",
    ),
    "a cost that is nobody's": (
        (
            "UPDATE allocations SET kind = 0, user_no = NULL, account_no = NULL,"
            f" plan_version_id = NULL WHERE namespace_id = {NAMESPACE_A}"
            " AND hour = '2026-03-01 03:00Z'"
        ),
        2,
        "eu-1 a 2026-03-01T03Z",
    ),
    "a period that changed by itself": (
        (
            "UPDATE user_projects SET valid = tstzrange('2026-03-01 01:00Z', NULL)"
            " WHERE namespace = 'a'"
        ),
        2,
        "eu-1 a 2026-03-01T00Z",
    ),
    "a daily row": (
        "UPDATE usage_daily SET charge_nano = charge_nano + 1 WHERE date = '2026-03-01'",
        3,
        "eu-1 auth0|anna 2026-03-01T00Z: usage_daily",
    ),
    "the rest of a daily row": (
        (
            "UPDATE usage_daily SET opencost_other_nano = opencost_other_nano + 1"
            " WHERE date = '2026-03-01'"
        ),
        3,
        "eu-1 auth0|anna 2026-03-01T00Z: usage_daily",
    ),
    "a daily row that is gone": (
        "DELETE FROM usage_daily WHERE date = '2026-03-02'",
        3,
        "2026-03-02T00Z: usage_daily",
    ),
    "a daily row too many": (
        "INSERT INTO usage_daily VALUES (2, 2, 1, '2026-03-02', 0, 0, 0, 0, 0, 0, 0, 0)",
        3,
        "eu-1 auth0|ben 2026-03-02T00Z: usage_daily",
    ),
    "a breakdown": (
        (
            "UPDATE usage_daily SET project_breakdown = jsonb_set(project_breakdown,"
            " '{a,charge_nano}', '1') WHERE date = '2026-03-01' AND user_no = 1"
        ),
        3,
        "eu-1 auth0|anna 2026-03-01T00Z: project_breakdown",
    ),
    "money moved within a breakdown": (
        (
            "UPDATE usage_daily SET project_breakdown = jsonb_set(jsonb_set(project_breakdown,"
            " '{a,cpu_nano}', '1'), '{a,ram_nano}', '2') WHERE date = '2026-03-01' AND user_no = 1"
        ),
        3,
        "eu-1 auth0|anna 2026-03-01T00Z: project_breakdown",
    ),
    "a breakdown that is gone": (
        "UPDATE usage_daily SET project_breakdown = NULL WHERE date = '2026-03-01' AND user_no = 1",
        3,
        "eu-1 auth0|anna 2026-03-01T00Z: project_breakdown",
    ),
    "a closed day that was opened again": (
        "UPDATE cluster_days SET closed_at = NULL WHERE day = '2026-03-01'",
        3,
        "eu-1 a 2026-03-01T00Z: cost_daily has it",
    ),
    "a row of a closed day": (
        f"UPDATE cost_daily SET charge_nano = charge_nano + 1 WHERE namespace_id = {NAMESPACE_A}",
        3,
        "eu-1 a 2026-03-01T00Z: cost_daily",
    ),
    "a row of a closed day that is gone": (
        f"DELETE FROM cost_daily WHERE namespace_id = {NAMESPACE_A}",
        3,
        "eu-1 a 2026-03-01T00Z: cost_daily",
    ),
    "an hour that counts as stored and is not": (
        (
            "UPDATE collection_windows SET revision = 0, raw_sha256 = NULL"
            " WHERE hour = '2026-03-01 03:00Z'"
        ),
        7,
        "eu-1 collected 2026-03-01T03Z: and nothing of it is stored",
    ),
    "an hour of the future": (
        (
            "INSERT INTO collection_windows (cluster_id, hour) SELECT id, '2026-03-02 20:00Z'"
            " FROM hopsworks_clusters"
        ),
        7,
        "eu-1 due 2026-03-02T20Z: is no hour that this cluster is metered in",
    ),
    "an hour from before the metering": (
        "UPDATE hopsworks_clusters SET metering_since = '2026-03-01 02:00Z'",
        7,
        "eu-1 settled 2026-03-01T00Z: is no hour that this cluster is metered in",
    ),
    "a waived hour without a reason": (
        "UPDATE collection_windows SET state = 'waived', why = '' WHERE hour = '2026-03-02 00:00Z'",
        7,
        "eu-1 waived 2026-03-02T00Z: no reason",
    ),
    "a stored hour that was given up": (
        (
            "UPDATE collection_windows SET state = 'gap', why = 'lost'"
            " WHERE hour = '2026-03-01 03:00Z'"
        ),
        7,
        "eu-1 gap 2026-03-01T03Z: and yet it is stored",
    ),
}


@pytest.mark.parametrize("what", CORRUPTIONS)
def test_what_was_changed_behind_the_books_is_named(kept: Site, what: str) -> None:
    statement, number, name = CORRUPTIONS[what]
    corrupt(kept, statement)
    found = wrong(kept)
    assert number in found
    assert any(name in row for row in found[number]), found


@pytest.mark.parametrize("number", [0, 7, 24])
def test_a_missing_window_is_named(site: Site, number: int) -> None:
    site.cluster()
    site.until(24)
    site.open_windows()
    corrupt(site, "DELETE FROM collection_windows WHERE hour = %s", hour(number))
    assert wrong(site) == {7: (f"eu-1 {hour(number):%Y-%m-%dT%HZ}: no row",)}


def test_windows_that_were_never_opened_are_named(site: Site) -> None:
    site.cluster()
    site.until(1)
    assert wrong(site) == {7: ("eu-1 2026-03-01T00Z: no row", "eu-1 2026-03-01T01Z: no row")}


def test_days_on_which_nobody_looked_are_named(site: Site) -> None:
    site.cluster()
    site.until(23)
    site.open_windows()
    site.now += 3 * DAY
    assert list(wrong(site)) == [7]
    assert wrong(site)[7][0] == "eu-1 2026-03-02T00Z: no row"


def test_hours_before_the_first_window_are_named(site: Site) -> None:
    cluster = site.cluster()
    site.open_windows()
    corrupt(
        site,
        "UPDATE hopsworks_clusters SET metering_since = %s WHERE id = %s",
        hour(-30),
        cluster.id,
    )
    assert wrong(site)[7][0] == "eu-1 2026-02-27T18Z: no row"


def test_an_answer_put_in_place_of_another_is_named(kept: Site) -> None:
    """Same totals, other bytes: only the hash that the window names can tell."""
    sha256 = kept.window(3)["raw_sha256"]
    packed = kept.value("SELECT body FROM raw_answers WHERE sha256 = %s", sha256)
    forged = zstandard.ZstdDecompressor().decompress(packed).replace(b"success", b"forgery")
    assert hashlib.sha256(forged).digest() != sha256
    corrupt(
        kept,
        "UPDATE raw_answers SET body = %s WHERE sha256 = %s",
        zstandard.ZstdCompressor().compress(forged),
        sha256,
    )
    assert any("2026-03-01T03Z" in row for row in wrong(kept)[1])


def test_a_proof_says_what_it_proved(kept: Site) -> None:
    lines = {line.number: line for line in kept.books()}
    assert list(lines) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert lines[1].detail == "25 hours"
    assert "in =" in lines[2].detail
    assert lines[3].detail == "all posted"
    assert lines[7].detail == "24 collected, 1 settled"
    assert lines[6].detail == lines[8].detail == "Stripe is not set up"


def test_answers_past_their_time_are_counted_and_not_missed(kept: Site) -> None:
    kept.connection.execute("SELECT drop_raw_answers(%s)", [FIRST])
    (first, *_) = kept.books()
    assert first.ok
    assert "25 by hash and sums" in first.detail
    corrupt(kept, CORRUPTIONS["a total and its rounding"][0])
    assert 1 in wrong(kept)


def test_what_waits_to_be_posted_is_pending_and_not_wrong(site: Site) -> None:
    site.cluster()
    site.map("a", site.user(), 0)
    site.say(["a"])
    site.collect()
    (_, _, daily, entries, *_) = site.books()
    for line in (daily, entries):
        assert line.ok
        assert line.detail.startswith("1 hour waits to be posted")


def test_one_month_can_be_proved_by_itself(kept: Site) -> None:
    corrupt(kept, CORRUPTIONS["a total"][0])
    assert 1 in wrong(kept, month="2026-03")
    assert wrong(kept, month="2026-02") == {}


def test_a_month_without_hours_says_that_nothing_cost(site: Site) -> None:
    lines = check_books(site.connection, site.now, month="2026-01")
    assert all(line.ok and line.detail for line in lines)
    assert lines[1].detail == "no cost"


def test_a_month_to_come_is_not_proved(site: Site) -> None:
    with pytest.raises(InputFault, match="2026-04 has not begun"):
        check_books(site.connection, site.now, month="2026-04")


def test_what_was_accepted_or_odd_is_no_fault_of_the_books(site: Site) -> None:
    site.cluster(cost_max_nano=10**9)
    site.say({"a": 5}, 0)
    odd = allocation(hour(1), cpuCost=-0.5, minutes=60)
    nothing: dict[str, Any] = {name: 0 for name in allocation() if "Cost" in name}
    site.say(
        body_of(
            {
                "kube-system": allocation(hour(1)),
                "__idle__": allocation(hour(1), totalCost=None),
                "a": odd,
                "late": allocation(hour(1), minutes=-2, **nothing),
            }
        ),
        1,
    )
    site.say(away(), 2)
    site.until(2)
    site.collect()
    site.decide("accept", 0)
    site.post()
    assert site.states() == ["settled", "collected", "failed"]
    site.must_balance()


def test_a_store_that_commits_meanwhile_is_neither_half_seen_nor_missed(site: Site) -> None:
    site.cluster()
    for number in range(3):
        site.say(["a"], number)
    site.collect()
    site.now += timedelta(hours=2)

    def store_more(_done: int, _all: int) -> None:
        site.collect()

    with site.open("prover") as prover:
        prover.execute("SET search_path = hopsmeter")
        proved = Site(site.database, prover, now=site.now)
        site.open_windows()
        lines = proved.books(progress=store_more)
    assert [line.ok for line in lines] == [True] * 8
    assert lines[6].detail == "1 collected, 2 due"
    assert site.states() == ["collected"] * 3


def test_empty_books_balance(site: Site) -> None:
    assert [line.ok for line in site.books()] == [True] * 8
