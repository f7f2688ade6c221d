"""Whoever works with Stripe is killed at any step: each thing is there once, each unit told once."""

import random
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import httpx
import pytest

from core.money import NANO
from tests.crash.stripe_scene import FROZEN, METERS, Scene, Worker, playing, worker
from tests.database import Database

CHAOS = pytest.mark.chaos
ACCOUNTS = 3
"""On each meter."""
KILLS = 5
STEPS_OF_A_REPORT = 48
STEPS_OF_A_LINK, STEPS_OF_A_PURCHASE, STEPS_OF_A_LOOK = 40, 40, 20
"""As a rule; one has more where there is more to tell."""
ROUNDS = 4
EVERY_STEP_MAX = 200
SHORT_LEASE_S = 1.5
GRACE_H = 72
LAST_OF_MARCH = date(2026, 3, 31)


@pytest.fixture
def scene(database: Database) -> Iterator[Scene]:
    with playing(database, seed=7) as made:
        yield made


def people(scene: Scene) -> None:
    for meter in METERS:
        for number in range(ACCOUNTS):
            scene.linked(f"{meter}-{number}", meter)
    scene.later(days=2)


def steps(seed: int, of: int) -> list[int]:
    return sorted(random.Random(seed).sample(range(1, of), KILLS))


# ── usage is told ───────────────────────────────────────────────────────────────────────────────


def report_and_die(scene: Scene, at: int) -> bool:
    """Let a run that has something to tell die at a step; whether it came to that."""
    scene.charge_some(6)
    scene.later(minutes=scene.dice.choice((0, 1, 90)))
    died = scene.do("report", at=at).end == "killed"
    scene.leases_end()
    scene.must_balance()
    return died


def test_each_unit_is_told_once_after_kills(scene: Scene) -> None:
    people(scene)
    for at in steps(1, STEPS_OF_A_REPORT):
        report_and_die(scene, at)
    assert scene.deaths > KILLS / 2
    scene.must_have_told_all()


@CHAOS
def test_each_unit_is_told_once_after_kills_at_every_step(scene: Scene) -> None:
    people(scene)
    scene.stripe.set(latency_s=0.002)
    for _ in range(ROUNDS):
        for at in range(1, STEPS_OF_A_REPORT):
            report_and_die(scene, at)
    assert scene.deaths > ROUNDS * STEPS_OF_A_REPORT / 2
    scene.must_have_told_all()


def people_who_left(scene: Scene) -> None:
    """They gave notice in March, and half an hour into April that is known; their last invoices are drafts."""
    scene.stripe.set(invoice_grace=timedelta(hours=GRACE_H).total_seconds())
    people(scene)
    for subscription in scene.stripe.all("subscription"):
        answer = httpx.post(
            f"{scene.stripe.url}/v1/subscriptions/{subscription['id']}",
            data={"cancel_at_period_end": "true"},
            headers={"Authorization": f"Bearer {scene.stripe.api_key}"},
        )
        answer.raise_for_status()
    april = datetime(2026, 4, 1, 0, 30, tzinfo=UTC)
    scene.later(seconds=(april - scene.now).total_seconds())
    scene.do("refresh")
    assert scene.row("SELECT count(*) FROM stripe_left_drafts")[0] == len(scene.users)


@pytest.mark.long
def test_each_unit_of_who_left_is_on_his_last_invoice_after_kills(scene: Scene) -> None:
    people_who_left(scene)
    for at in steps(6, STEPS_OF_A_REPORT):
        for _ in range(6):
            scene.charge(scene.dice.choice(scene.users), LAST_OF_MARCH)
        scene.later(minutes=scene.dice.choice((0, 1, 90)))
        scene.do("report", at=at)
        scene.leases_end()
        scene.must_balance()
    assert scene.deaths > KILLS / 2
    for _ in range(2):  # what was unknown waits for its pause
        scene.later(hours=2)
        scene.do("report")
    scene.later(hours=GRACE_H)
    scene.do("refresh")
    scene.must_have_told_all()
    billed = scene.rows(
        "SELECT account_no, units FROM stripe_invoices WHERE finalized_at IS NOT NULL AND units > 0"
    )
    told = scene.rows("SELECT account_no, units FROM stripe_days WHERE units > 0")
    assert sorted(billed) == sorted(told) != []


# ── accounts are linked ─────────────────────────────────────────────────────────────────────────


def link_and_die(scene: Scene, at: int) -> bool:
    """Let the link of a new account die at a step, and be gone on with; whether it came to that.

    Half of them much later, when Stripe knows no idempotency key of the first try any more.
    """
    user = scene.user(f"at-{at}")
    command = scene.ask("stripe.link", account=user.id, meter=METERS[at % 2])
    died = scene.do("carry", at=at).end == "killed"
    if at % 4 < 2:
        scene.later(hours=25)
    scene.carried(command)
    return died


def must_be_linked_once(scene: Scene) -> None:
    subscriptions = scene.stripe.all("subscription")
    customers = scene.stripe.all("customer")
    for user in scene.users:
        mine = [each["id"] for each in customers if each["metadata"].get("hopsmeter") == user.id]
        theirs = [each["id"] for each in subscriptions if each["customer"] in mine]
        kept = scene.row(
            "SELECT stripe_customer_id, stripe_subscription_id, billed_from IS NOT NULL FROM users"
            " JOIN stripe_accounts ON account_no = no WHERE no = %s",
            user.no,
        )
        assert (mine, theirs, True) == ([kept[0]], [kept[1]], kept[2]), user.id
    assert len(customers) == len(subscriptions) == len(scene.users)


@pytest.mark.long
def test_a_killed_link_makes_one_customer_with_one_subscription(scene: Scene) -> None:
    for at in steps(2, STEPS_OF_A_LINK):
        link_and_die(scene, at)
    assert scene.deaths == KILLS
    must_be_linked_once(scene)


@CHAOS
def test_a_link_killed_at_each_step_makes_one_customer_with_one_subscription(scene: Scene) -> None:
    for at in range(1, EVERY_STEP_MAX):
        if not link_and_die(scene, at):
            break
    assert scene.deaths >= STEPS_OF_A_LINK
    must_be_linked_once(scene)


# ── credits are bought ──────────────────────────────────────────────────────────────────────────


def buy_and_die(scene: Scene, at: int, then: int) -> tuple[bool, bool]:
    """Let a purchase die at a step, and what credits it at another; whether it came to both.

    It is credited by webhooks, or by the hourly look.
    """
    user = scene.user(f"at-{at}-{then}")
    command = scene.ask("credits.buy", account=user.id, amount="25")
    first = scene.do("carry", at=at).end == "killed"
    scene.carried(command)
    session = scene.stripe.all("checkout.session")[-1]
    scene.stripe.do("pay", session=session["id"])
    scene.later(minutes=11)
    scene.hear()
    what = ("hear", "look")[then % 2]
    second = scene.do(what, at=then).end == "killed"
    scene.leases_end()
    for each in ("look", "hear", "look"):
        scene.do(each)
    return first, second


def must_be_credited_once(scene: Scene) -> None:
    sold = [each["metadata"] for each in scene.stripe.all("checkout.session")]
    assert len(sold) == len({each["purchase"] for each in sold}) == len(scene.users)
    wrong = scene.rows(
        "SELECT u.id, e.amounts, p.state FROM users u"
        " LEFT JOIN stripe_purchases p ON p.account_no = u.no"
        " LEFT JOIN (SELECT account_no, array_agg(amount_nano) AS amounts FROM ledger_entries"
        "            GROUP BY account_no) e ON e.account_no = u.no"
        " WHERE u.no = ANY (%s) AND (e.amounts, p.state) IS DISTINCT FROM (ARRAY[%s::bigint], 'paid')",
        [user.no for user in scene.users],
        25 * NANO,
    )
    assert wrong == []
    left = "SELECT type, state, error FROM webhook_events WHERE state NOT IN ('done', 'unknown')"
    assert scene.rows(left) == []
    scene.must_balance()


@pytest.mark.long
def test_a_killed_purchase_is_credited_once(scene: Scene) -> None:
    for at, then in zip(steps(3, STEPS_OF_A_PURCHASE), steps(4, STEPS_OF_A_LOOK), strict=True):
        buy_and_die(scene, at, then)
    assert scene.deaths > KILLS
    must_be_credited_once(scene)


@CHAOS
def test_a_purchase_killed_at_each_step_is_credited_once(scene: Scene) -> None:
    for at in range(1, EVERY_STEP_MAX):
        if buy_and_die(scene, at, at) == (False, False):
            break
    assert scene.deaths > STEPS_OF_A_PURCHASE
    must_be_credited_once(scene)


# ── two at once ─────────────────────────────────────────────────────────────────────────────────


def report_beside(scene: Scene, other: Worker, at: int) -> bool:
    """Let a run freeze at a step, another do its work and more, and the first thaw; whether it froze."""
    scene.charge_some(6)
    frozen = scene.do("report", at=at, signal=FROZEN, lease_s=SHORT_LEASE_S, kinds=("request",))
    scene.charge_some(3)
    if frozen.end == "frozen":
        time.sleep(SHORT_LEASE_S)
    other.begin(scene.order("report"))
    assert other.end().end == "done"
    if frozen.end != "frozen":
        return False
    assert scene.worker.thaw(frozen.pid).end == "done"
    scene.leases_end()
    scene.must_balance()
    return True


def both_at_once(scene: Scene, other: Worker) -> None:
    scene.charge_some(8)
    for each in (scene.worker, other):
        each.begin(scene.order("report"))
    assert [each.end().end for each in (scene.worker, other)] == ["done", "done"]
    scene.must_balance()


def play_beside(scene: Scene, freezes: int, rounds: int) -> None:
    people(scene)
    scene.stripe.set(latency_s=0.002)
    with worker() as other:
        frozen = [report_beside(scene, other, 1 + number % 8) for number in range(freezes)]
        assert sum(frozen) > freezes / 3
        for _ in range(rounds):
            both_at_once(scene, other)
    scene.must_have_told_all()


@pytest.mark.long
def test_two_that_report_at_once_tell_each_unit_once(scene: Scene) -> None:
    play_beside(scene, freezes=2, rounds=2)


@CHAOS
@pytest.mark.timeout(600)
def test_two_that_report_at_once_tell_each_unit_once_for_long(scene: Scene) -> None:
    play_beside(scene, freezes=60, rounds=60)
