"""One cluster-hour, one transaction: stored once, revised by difference, never half."""

from collections.abc import Sequence
from typing import Any

import pytest

from core.clock import HOUR
from core.db.locks import Lock, take
from core.errors import AnswerRefused, LeaseLost
from core.metering import windows
from core.metering.attribution import Attribution
from core.metering.hours import Asked, Claim, Fetched, Stored
from core.metering.store import store_answers, store_hours
from core.opencost.read import read_answer
from tests.answers import LIMITS, allocation, body, body_of, raw_of
from tests.core.metering.site import NAME, POLICY, Connection, Row, Site, away, hour

NANO = 10**9


def test_a_fresh_hour_is_stored_whole(site: Site) -> None:
    site.cluster()
    anna = site.user()
    site.map("ml-train", anna, 0)
    site.say({"ml-train": 2, "etl": 1})
    site.collect()
    assert site.rows() == {
        "kube-system": Row("system", None, 65_760_000),
        "__idle__": Row("idle", None, 1_268_330_000),
        "ml-train": Row("user", anna.id, 2_018_330_000),
        "etl": Row("unmapped", None, 1_018_330_000),
    }
    window = site.window()
    assert (window["state"], window["revision"], window["row_count"]) == ("collected", 1, 4)
    assert window["total_nano"] == site.total()
    assert (window["stored_no"], window["posted_no"], window["lease_token"]) == (1, 0, None)
    assert window["next_try_at"] == hour(0) + HOUR + POLICY.settle
    site.must_balance()


def test_every_figure_comes_back_as_it_went_in(site: Site) -> None:
    site.cluster()
    row = allocation(hour(0), gpuCost=3.00001, sharedCost=0.1, cpuCostAdjustment=-0.02, gpuHours=4)
    site.say(body_of({"kube-system": allocation(hour(0)), "a": row}))
    site.collect()
    (kept,) = site.all(
        "SELECT a.* FROM allocations a JOIN namespaces n ON n.id = a.namespace_id"
        " WHERE n.name = 'a'"
    )
    assert kept["cpu_nano"] == 47_430_000
    assert kept["gpu_nano"] == 3_000_010_000
    assert kept["shared_nano"] == 100_000_000
    assert kept["adjustment_nano"] == -20_000_000
    assert kept["gpu_hours_micro"] == 4_000_000
    assert kept["cpu_core_hours_micro"] == 1_500_000
    assert kept["ram_byte_hours"] == 4294967296
    assert kept["minutes_micro"] == 60_000_000
    assert kept["efficiency_ppm"] == 250_000


def test_the_same_bytes_again_write_no_fact(site: Site) -> None:
    site.cluster()
    site.say(["a", "b"])
    site.collect()
    site.post()
    tables = ("allocations", "allocation_history", "raw_answers", "usage_daily", "namespaces")
    before = {table: site.versions(table) for table in tables}
    site.day_later()
    site.say(["a", "b"])
    site.again(0)
    site.collect()
    site.post()
    assert {table: site.versions(table) for table in tables} == before
    window = site.window()
    assert (window["state"], window["revision"], window["next_try_at"]) == ("settled", 1, None)
    assert window["stored_no"] == window["posted_no"] == 1


def test_other_bytes_of_the_same_figures_write_no_fact(site: Site) -> None:
    site.cluster()
    site.say(["a"])
    site.collect()
    before = site.versions("allocations"), site.versions("raw_answers")
    site.say(body(["a"], hour(0)).replace(b'"status": "success"', b'"status":"success"'))
    site.again(0)
    site.collect()
    assert (site.versions("allocations"), site.versions("raw_answers")) == before
    window = site.window()
    assert (window["state"], window["revision"], window["stored_no"]) == ("collected", 1, 1)
    site.must_balance()


def test_a_restated_hour_makes_a_revision_of_what_changed(site: Site) -> None:
    site.cluster()
    site.say({"a": 1, "b": 1})
    site.collect()
    first = site.window()["raw_sha256"]
    site.say({"a": 1, "b": 1.5, "new": 2})
    site.again(0)
    site.collect()
    rows = site.rows()
    assert (rows["a"].revision, rows["b"].revision, rows["new"].revision) == (1, 2, 2)
    assert rows["b"].total_nano == 1_518_330_000
    (old,) = site.all("SELECT * FROM allocation_history")
    assert (old["total_nano"], old["revision"]) == (1_018_330_000, 1)
    assert (old["replaced_why"], old["raw_sha256"]) == ("restated", first)
    window = site.window()
    assert (window["revision"], window["stored_no"], window["state"]) == (2, 2, "collected")
    assert window["raw_sha256"] != first
    assert site.value("SELECT count(*) FROM raw_answers") == 2
    site.must_balance()


def test_a_namespace_that_vanished_is_held_for_an_admin(site: Site) -> None:
    site.cluster()
    site.say(["a", "b"])
    site.collect()
    before = site.rows()
    site.say(["a"])
    site.again(0)
    site.collect()
    assert site.rows() == before
    window = site.window()
    assert (window["state"], window["fault"], window["next_try_at"]) == ("held", "shrank", None)
    assert "1 namespace (b)" in window["why"]
    assert window["pending_sha256"] != window["raw_sha256"]
    site.must_balance()


def test_a_total_that_fell_by_more_than_allowed_is_held(site: Site) -> None:
    site.cluster()
    site.say({"a": 100})
    site.collect()
    site.say({"a": 94})
    site.again(0)
    site.collect()
    assert site.window()["state"] == "held"
    site.say({"a": 96})
    site.again(0)
    site.collect()
    window = site.window()
    assert (window["state"], window["pending_sha256"], window["fault"]) == ("collected", None, None)
    assert site.rows()["a"].total_nano == 96_018_330_000
    site.must_balance()


def test_idle_may_fall_and_vanish_without_being_held(site: Site) -> None:
    site.cluster()
    site.say(
        body_of({"kube-system": allocation(hour(0)), "__idle__": allocation(hour(0), cpuCost=50)})
    )
    site.collect()
    site.say(body_of({"kube-system": allocation(hour(0))}))
    site.again(0)
    site.collect()
    assert site.window()["state"] == "collected"
    assert site.rows()["__idle__"] == Row("idle", None, 0, revision=2, flags=4)
    site.must_balance()


def test_a_vanished_namespace_can_come_back(site: Site) -> None:
    site.cluster()
    for costs in (["a", "b"], ["a"]):
        site.say(costs)
        site.again(0)
        site.collect()
    site.decide("accept")
    assert site.rows()["b"] == Row("unmapped", None, 0, revision=2, flags=4)
    site.must_balance()
    site.say(["a", "b"])
    site.again(0)
    site.collect()
    assert site.rows()["b"] == Row("unmapped", None, 65_760_000, revision=3)
    site.must_balance()


# ── leases ──────────────────────────────────────────────────────────────────────────────────


def fetched(claim: Claim, costs: list[str]) -> Fetched:
    content = body(costs, claim.hour)
    return Fetched(claim, read_answer(content, claim.hour, LIMITS), raw_of(content, claim.hour))


def asked(claim: Claim, costs: list[str]) -> Asked:
    content = body(costs, claim.hour)
    return Asked(claim, content, LIMITS, raw_of(content, claim.hour))


def claims_of(site: Site) -> list[Claim]:
    site.open_windows()
    found: list[Claim] = []
    for work in windows.clusters_with_work(site.connection, site.now, 100):
        found += windows.claim(
            site.connection,
            work.cluster_id,
            site.now,
            policy=POLICY,
            store_backend=(site.connection.info.backend_pid, NAME),
            limit=100,
        )
    return found


def store(site: Site, ready: list[Fetched], attribution: Attribution | None = None) -> list[Stored]:
    return store_hours(
        site.connection,
        ready,
        attribution=attribution or Attribution(),
        policy=POLICY,
        now=site.now,
    )


def test_clusters_that_are_ready_together_share_a_transaction(site: Site) -> None:
    for name in ("eu-1", "eu-2", "eu-3"):
        site.cluster(name)
    site.until(1)
    done = store(site, [fetched(claim, ["a"]) for claim in claims_of(site)])
    assert [each.outcome for each in done] == ["stored"] * 6
    assert len({xmin for _, _, xmin in site.versions("allocations")}) == 1
    site.must_balance()


def test_a_lost_lease_rolls_everything_back(site: Site) -> None:
    site.cluster()
    site.cluster("eu-2")
    ready = [fetched(claim, ["a"]) for claim in claims_of(site)]
    site.connection.execute(
        "UPDATE collection_windows SET lease_token = gen_random_uuid() WHERE cluster_id = %s",
        [ready[1].claim.cluster_id],
    )
    attribution = Attribution()
    with pytest.raises(LeaseLost):
        store(site, ready, attribution)
    for table in ("allocations", "raw_answers", "namespaces"):
        assert site.versions(table) == []
    assert site.states("eu-1") == site.states("eu-2") == ["due"]
    assert [each.outcome for each in store(site, ready[:1], attribution)] == ["stored"]
    site.must_balance()


def test_a_lease_that_ran_out_stores_nothing(site: Site) -> None:
    site.cluster()
    (claim,) = claims_of(site)
    site.connection.execute(
        "UPDATE collection_windows SET lease_until = clock_timestamp() - interval '1 ms'"
    )
    with pytest.raises(LeaseLost):
        store(site, [fetched(claim, ["a"])])
    with pytest.raises(LeaseLost):
        windows.unchanged(site.connection, [claim], site.now, POLICY)
    assert site.versions("allocations") == []


def test_a_lease_that_ends_while_storing_rolls_back_at_the_last_word(site: Site) -> None:
    site.cluster()
    (claim,) = claims_of(site)
    # The lease ends between the transaction's first look and its last statement.
    site.connection.execute(
        "CREATE FUNCTION hopsmeter.late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " UPDATE hopsmeter.collection_windows SET lease_until = clock_timestamp(); RETURN NULL;"
        " END $$; CREATE TRIGGER late AFTER INSERT ON hopsmeter.allocations"
        " FOR EACH STATEMENT EXECUTE FUNCTION hopsmeter.late()"
    )
    with pytest.raises(LeaseLost):
        store(site, [fetched(claim, ["a"])])
    assert site.versions("allocations") == site.versions("raw_answers") == []
    assert site.window()["revision"] == 0


def test_a_cluster_that_cannot_be_stored_blocks_no_other(site: Site) -> None:
    for name in ("eu-1", "eu-2", "eu-3"):
        site.cluster(name)
    first, good, bad = (asked(claim, ["a"]) for claim in claims_of(site))
    site.connection.execute(
        "UPDATE collection_windows SET lease_token = NULL WHERE cluster_id = %s",
        [bad.claim.cluster_id],
    )
    writer = site.tools.writer
    with site.connection.transaction():
        # While the first waits for its lock, the other two become one batch.
        take(site.connection, Lock.ATTRIBUTION)
        orders = [writer.store(each) for each in (first, good, bad)]
    assert [order.result(30).outcome for order in orders[:2]] == ["stored", "stored"]
    with pytest.raises(LeaseLost):
        orders[2].result(30)
    assert [site.states(name) for name in ("eu-1", "eu-2", "eu-3")] == [
        ["collected"],
        ["collected"],
        ["due"],
    ]
    site.must_balance()


def test_an_answer_that_meets_a_bug_of_ours_blocks_no_other(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("eu-1", "eu-2", "eu-3"):
        site.cluster(name)
    first, good, bad = (asked(claim, ["a"]) for claim in claims_of(site))

    def store_or_fall(connection: Connection, batch: Sequence[Asked], **how: Any) -> Any:
        assert bad not in batch, "a bug"
        return store_answers(connection, batch, **how)

    monkeypatch.setattr("core.metering.writer.store_answers", store_or_fall)
    writer = site.tools.writer
    with site.connection.transaction():
        take(site.connection, Lock.ATTRIBUTION)
        orders = [writer.store(each) for each in (first, good, bad)]
    assert [order.result(30).outcome for order in orders[:2]] == ["stored", "stored"]
    with pytest.raises(AssertionError, match="a bug"):
        orders[2].result(30)
    site.must_balance()


def test_a_bug_that_leaves_its_transaction_open_spoils_one_answer_and_no_more(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("eu-1", "eu-2"):
        site.cluster(name)
    bad, good = (asked(claim, ["a"]) for claim in claims_of(site))

    def leave(connection: Connection, batch: Sequence[Asked], **how: Any) -> Any:
        if bad in batch:
            connection.execute("BEGIN")
            connection.execute("UPDATE hopsmeter.collection_windows SET why = 'left open'")
            raise AssertionError
        return store_answers(connection, batch, **how)

    monkeypatch.setattr("core.metering.writer.store_answers", leave)
    with pytest.raises(AssertionError):
        site.tools.writer.store(bad).result(30)
    assert site.tools.writer.store(good).result(30).outcome == "stored"
    assert site.value("SELECT count(*) FROM collection_windows WHERE why = 'left open'") == 0
    site.must_balance()


def test_an_hour_that_meets_a_bug_of_ours_is_shown_with_it_and_tried_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.cluster()
    site.until(1)
    for number in (0, 1):
        site.say(["a"], number)

    def store_or_fall(connection: Connection, batch: Sequence[Asked], **how: Any) -> Any:
        assert hour(0) not in [each.claim.hour for each in batch], "a bug"
        return store_answers(connection, batch, **how)

    with monkeypatch.context() as patch:
        patch.setattr("core.metering.writer.store_answers", store_or_fall)
        site.collect()
    assert site.states() == ["failed", "collected"]
    assert "It is a bug" in site.window()["why"]
    assert site.window()["lease_token"] is None
    site.now += HOUR
    site.collect()
    assert site.states()[:2] == ["collected", "collected"]
    site.must_balance()


def test_what_is_refused_leaves_the_others_of_its_batch_alone(site: Site) -> None:
    for name in ("eu-1", "eu-2", "eu-3"):
        site.cluster(name)
    first, bad, last = claims_of(site)
    refused = Asked(bad, body_of({"a": allocation(bad.hour)}), LIMITS, raw_of(b"", bad.hour))
    came = store_answers(
        site.connection,
        [asked(first, ["a"]), refused, asked(last, ["b"])],
        attribution=Attribution(),
        policy=POLICY,
        now=site.now,
    )
    outcomes = [came[claim.token] for claim in (first, bad, last)]
    assert isinstance(outcomes[1], AnswerRefused)
    assert outcomes[1].fault == "no-sentinel"
    assert [each.outcome for each in outcomes if isinstance(each, Stored)] == ["stored"] * 2
    assert [site.states(name) for name in ("eu-1", "eu-2", "eu-3")] == [
        ["collected"],
        ["due"],
        ["collected"],
    ]
    site.must_balance()


@pytest.mark.parametrize("what", ["new names", "a new day", "a new owner"])
def test_a_question_in_mid_stream_changes_nothing(site: Site, what: str) -> None:
    """Owners that have to be looked up end one COPY and begin another, in one transaction."""
    anna = site.user()
    names = [f"n-{number:04}" for number in range(700)]
    for name in ("eu-1", "eu-2", "eu-3"):
        site.cluster(name)
    attribution = Attribution()
    hours = 26 if what == "a new day" else 2
    for number in range(hours):
        site.until(number)
        if what == "new names" and number:
            names = [*names, "late-one"]
        if what == "a new owner" and number:
            site.map(names[0], anna, 1, cluster="eu-2")
        ready = [asked(claim, names) for claim in claims_of(site)]
        store_answers(site.connection, ready, attribution=attribution, policy=POLICY, now=site.now)
    for name in ("eu-1", "eu-2", "eu-3"):
        rows = site.rows(hours - 1, cluster=name)
        assert len(rows) == len(names) + 2
        owned = [each for each, row in rows.items() if row.user == anna.id]
        assert owned == ([names[0]] if (what, name) == ("a new owner", "eu-2") else [])
    site.must_balance()


def test_an_owner_is_resolved_anew_once_he_changed(site: Site) -> None:
    site.cluster()
    anna, ben = site.user(), site.user("ben")
    site.map("a", anna, 0)
    for number in range(3):
        site.say(["a"], number)
    site.until(0)
    site.collect()
    site.map("a", ben, 1)
    site.until(1)
    site.collect()
    site.unmap("a", 2)
    site.until(2)
    site.collect()
    owners = [site.rows(number)["a"].user for number in range(3)]
    assert owners == [anna.id, ben.id, None]
    site.must_balance()


def test_an_hour_after_trouble_is_stored_like_any_other(site: Site) -> None:
    site.cluster()
    site.say(away())
    site.collect()
    assert site.window()["state"] == "failed"
    site.say(["a"])
    site.again(0)
    site.collect()
    assert site.window()["state"] == "collected"
    site.must_balance()
