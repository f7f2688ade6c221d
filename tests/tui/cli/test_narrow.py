"""Tables about Stripe on a terminal of 80 columns: whole, in order, and nothing left out."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import click
import pytest
from rich.cells import cell_len

from core.books.reconcile import three_ways
from core.books.reconcile.three_ways import Finding, Reconciled
from core.reports.stripe.accounts import PurchaseLine, StripeLine
from core.reports.stripe.compared import DayLine
from core.reports.stripe.due import Due
from core.reports.webhooks import EventLine
from tests.core.commands.carrier import with_admin
from tests.database import Database
from tests.factories import NOW
from tests.tui.cli.conftest import Run, thin
from tui.cli import output, stripe, stripe_days, webhooks
from tui.cli.narrow import narrow_table

MAIL = "bartholomew.b@dep.example.test"
CUSTOMER, EVENT = "cus_" + "A1b2" * 7, "evt_test_65" + "Z9y8" * 13
TYPE = "v1.billing.meter.error_report_triggered"
KEY = "order-2026-03-of-the-spring-term-0017"
TODAY = NOW.date()
MUCH = 12_345_678_901_234

DUE = Due(
    "auth0|b", MAIL, "EUR", "parked", 29, TODAY - timedelta(28), TODAY, MUCH,
    "Stripe: No such customer, the identifier belongs to a live mode object",
)  # fmt: skip
BILL = Due(
    "auth0|b", MAIL, "EUR", "twice", 22, TODAY - timedelta(28), TODAY, None, None,
    invoice_id="in_" + "d4E5" * 6, cause="invoices in_1 and in_2 both bill 2026-03-10",
    to_do="refund in_2, then stripe settle --invoice in_2 --put-right",
)  # fmt: skip
LINE = StripeLine(
    "auth0|b", MAIL, "EUR", CUSTOMER, "sub_" + "C3d4" * 7, "incomplete_expired", "daily",
    has_card=False, standing="suspend", standing_since=NOW, why="its subscription ended on the 1st",
    parked_at=NOW, parked_why="Stripe has no such customer", due_nano=MUCH, unpaid_invoices=12,
    billed_from=NOW, period_end=NOW, fetched_at=NOW,
)  # fmt: skip
BOUGHT = PurchaseLine(
    10_017, "auth0|b", MAIL, "EUR", "part refunded", 12_345, MUCH, MUCH // 2, TODAY, NOW, NOW,
    "cs_test_" + "a1B2" * 14, KEY,
)  # fmt: skip
DAY = DayLine(
    "auth0|b", MAIL, "EUR", TODAY, MUCH, MUCH, MUCH, -MUCH,
    MUCH, 123_456_789_012, 123_456_789_013, NOW, NOW,
)  # fmt: skip
CAME = EventLine(
    EVENT, "stripe", TYPE, "given up", CUSTOMER, {}, NOW, NOW, None, "delivered", 3, 23, None, "",
    "Stripe refuses: " + "no such customer " * 9, "", livemode=False, api_version="",
    body_sha256="",
)  # fmt: skip
TOLD: dict[tuple[str, ...], tuple[Any, str, Any, list[str]]] = {
    ("stripe", "due"): (
        stripe_days, "read_due", [DUE],
        [MAIL, "12 345.678901 EUR", "(29)", "No such customer", "then stripe unpark"],
    ),
    ("stripe", "accounts"): (
        stripe, "stripe_accounts", [LINE],
        [MAIL, CUSTOMER, "incomplete_expired", "card: no", "unpaid: 12", "on the 1st"],
    ),
    ("stripe", "purchases"): (
        stripe, "stripe_purchases", [BOUGHT], [MAIL, KEY, "12 345.68 EUR", "part refunded"],
    ),
    ("webhooks", "list"): (
        webhooks, "event_lines", [CAME], [EVENT, TYPE, CUSTOMER, "given up", "no such customer no"],
    ),
}  # fmt: skip

BRIEF: dict[tuple[str, ...], dict[str, Any]] = {
    ("stripe", "due"): {},
    ("stripe", "accounts"): {
        "subscription_status": "active", "parked_why": "Stripe has no such customer " * 4,
    },
    ("webhooks", "list"): {"event_id": "evt_1SPmXk2eZvKYlo2CZ9TJ1K7q", "type": "invoice.paid"},
}  # fmt: skip
"""As most are; the rest as above."""


@pytest.fixture
def room(database: Database, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    with_admin(database)

    def cells(count: int) -> None:
        monkeypatch.setattr(output, "terminal_cells", lambda: count)

    return cells


@pytest.mark.parametrize("words", TOLD, ids=" ".join)
def test_a_table_about_stripe_fits_eighty_columns_whole(
    words: tuple[str, ...], run: Run, room: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    module, reader, found, facts = TOLD[words]
    monkeypatch.setattr(module, reader, lambda *_args, **_named: found)
    room(80)
    told = thin(run(*words).stdout)
    assert max(map(cell_len, told.splitlines())) <= 80
    flat = " ".join(told.split())
    for fact in facts:
        assert fact in flat
    room(400)
    assert len(run(*words).stdout.splitlines()) == 3


def test_an_invoice_that_waits_fits_eighty_columns_and_has_no_amount(
    run: Run, room: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stripe_days, "read_due", lambda *_args, **_named: [BILL])
    room(80)
    told = run("stripe", "due").stdout
    assert max(map(cell_len, told.splitlines())) <= 80
    for fact in ("?", "(22)", "both bill 2026-03-10", "then stripe settle --invoice in_2"):
        assert fact in " ".join(told.split()), told
    (row,) = json.loads(run("stripe", "due", "--json").stdout)
    assert (row["amount_nano"], row["invoice_id"]) == (None, BILL.invoice_id)
    assert run("stripe", "due", "--csv").stdout.count("\n") == 2


def test_settling_is_said_in_one_way_and_of_one_thing(run: Run) -> None:
    words = ("stripe", "settle", "anna", "--reason", "agreed")
    for more, said in (
        ((), "Say how it is settled"),
        (("--outside", "--put-right", "--invoice", "in_1"), "Say how it is settled"),
        (("--put-right",), "name it with --invoice"),
        (("--outside", "--invoice", "in_1", "--day", "2026-03-01"), "a day or an invoice"),
    ):
        assert said in run(*words, *more, exit_code=2).stderr


def test_days_beside_each_other_fit_eighty_columns(
    run: Run, room: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    differs = Finding("auth0|b", MAIL, TODAY, "Stripe has more than it was told " * 4, "look " * 20)
    found = Reconciled([differs], "1 day.")
    monkeypatch.setattr(three_ways, "reconcile", lambda *_args, **_named: found)
    lost = replace(DAY, stripe_units=0)
    monkeypatch.setattr(stripe_days, "days", lambda *_args, **_named: [DAY, lost])
    room(80)
    compared = run("stripe", "reconcile", exit_code=1).stdout.splitlines()
    by_day = run("stripe", "reconcile", MAIL, exit_code=1).stdout.splitlines()[:8]
    assert max(map(cell_len, (*compared, *by_day))) <= 80
    assert "Stripe has: 123456789013" in " ".join(by_day)
    assert "Stripe has: none" in " ".join(by_day), "that of a day it has nothing is no empty fact"
    assert "next step: look look" in " ".join(" ".join(compared).split())


@pytest.mark.parametrize("words", [("stripe", "due"), ("webhooks", "list"), ("stripe", "accounts")])
def test_a_wide_terminal_has_all_beside_each_other_and_folds_sentences_at_words(
    words: tuple[str, ...], run: Run, room: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    module, reader, (found,), facts = TOLD[words]
    monkeypatch.setattr(module, reader, lambda *_args, **_named: [replace(found, **BRIEF[words])])
    room(160)
    lines = thin(run(*words).stdout).splitlines()
    assert max(map(cell_len, lines)) <= 160
    assert set(lines[1]) == {"─"}
    assert cell_len(lines[1]) > 120, "the columns stand beside each other"
    flat = " ".join("  ".join(lines).split())
    assert facts[0] in flat or BRIEF[words]["event_id"] in flat


def test_what_differs_of_an_account_is_folded_at_words_and_ids_stay_whole(
    run: Run, room: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [f"{kind}_1SPmXk2eZvKYlo2CZ9TJ1K7{end}" for kind in ("in", "sub") for end in "qrs"]
    differs = Finding("auth0|b", MAIL, TODAY, f"invoices {' and '.join(ids)} bill it", "cancel one")
    monkeypatch.setattr(three_ways, "reconcile", lambda *_args, **_named: Reconciled([differs], ""))
    monkeypatch.setattr(stripe_days, "days", lambda *_args, **_named: [DAY])
    monkeypatch.setattr(stripe_days, "unread", lambda *_args, **_named: "not read yet, " * 12)
    room(80)
    told = run("stripe", "reconcile", MAIL, exit_code=1).stdout
    assert max(map(cell_len, told.splitlines())) <= 80
    assert all(each in told for each in ids)


def test_a_longer_name_goes_on_below_itself_and_no_amount_does() -> None:
    name = "n" * 50
    drawn, cells = narrow_table(
        [("name", "left"), ("cost", "right")], [([name, "1 234.56 EUR"], [("why", "late")])], 40
    )
    assert drawn.plain.splitlines()[2:] == [
        f"{'n' * 26}  1 234.56 EUR",
        "n" * 24 + " " * 16,
        "    why: late",
    ]
    assert cells == 40


def test_a_table_is_as_narrow_as_its_words_allow() -> None:
    """With less room than that its lines are longer: cut to fit, an amount would read as another."""
    drawn, cells = narrow_table([("name", "left"), ("cost", "right")], [(["x", "1.00 EUR"], [])], 5)
    assert drawn.plain.splitlines()[-1] == "x     1.00 EUR"
    assert cells == 14


def test_names_and_values_are_folded_at_words_and_an_address_stays_whole(
    run: Run, room: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "event_line", lambda *_args: CAME)
    room(80)
    told = thin(run("webhooks", "show", EVENT).stdout)
    assert max(map(cell_len, told.splitlines())) <= 80
    assert " ".join(CAME.error.split()) in " ".join(told.split())
    url = "https://checkout.example/" + "a" * 90
    assert stripe_overview(url, monkeypatch) == [
        "The Stripe account acct_1 (test mode) is set up.",
        "default meter  daily",
        "webhooks to",
        f"               {url},",
        "               enabled, default",
        "- " + "look at it " * 6 + "look at it",
        "  " + "look at it " * 4 + "look at it",
    ]


def stripe_overview(url: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    said: list[str] = []
    monkeypatch.setattr(click, "echo", said.append)
    stripe._tell_overview(
        {
            "summary": "The Stripe account acct_1 (test mode) is set up.",
            "default_meter": "daily",
            "meters": {},
            "prices": {},
            "endpoints": [{"url": url, "status": "enabled", "api_version": ""}],
            "remarks": ["look at it " * 12],
        }
    )
    return said
