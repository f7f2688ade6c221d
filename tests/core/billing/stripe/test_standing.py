"""How an account stands: a pure rule of facts, policy and time."""

from datetime import timedelta

from core.billing.stripe.standing import GOOD, Facts, standing_of
from tests.factories import NOW

GRACE = timedelta(days=7)
DAY = timedelta(days=1)


def test_nothing_wrong_is_good() -> None:
    assert standing_of(Facts(), NOW, GRACE) == GOOD


def test_an_unpaid_invoice_warns_at_once_and_stops_after_the_grace() -> None:
    facts = Facts(unpaid_since=NOW)
    assert standing_of(facts, NOW, GRACE).word == "warned"
    assert standing_of(facts, NOW + GRACE - timedelta(seconds=1), GRACE).word == "warned"
    late = standing_of(facts, NOW + GRACE, GRACE)
    assert (late.word, late.until) == ("suspend", NOW + GRACE)
    assert late.why == "an invoice is unpaid since 2026-03-03"


def test_who_has_still_something_to_be_reported_does_not_stop_yet() -> None:
    late = standing_of(Facts(no_card_since=NOW, waits=True), NOW + 9 * DAY, GRACE)
    assert late.word == "warned"
    assert late.why.endswith("it is to stop once what it owes is reported")


def test_a_missing_card_is_told_of_after_a_day() -> None:
    facts = Facts(no_card_since=NOW)
    assert standing_of(facts, NOW, GRACE) == GOOD
    assert standing_of(facts, NOW + DAY, GRACE).word == "warned"
    assert standing_of(facts, NOW, timedelta(0)).word == "suspend"


def test_the_oldest_trouble_says_when_it_stops() -> None:
    facts = Facts(unpaid_since=NOW, paused_since=NOW - 3 * DAY, ended_since=NOW + DAY)
    found = standing_of(facts, NOW, GRACE)
    assert found.until == NOW + 4 * DAY
    assert found.why.count(";") == 2
