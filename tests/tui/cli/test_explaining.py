"""`hopsmeter explain` on the command line: an hour, an account's day, an entry of the ledger."""

import json
from collections.abc import Callable

import pytest

from tests.core.commands.carrier import with_admin
from tests.core.metering.site import Site, site
from tests.tui.cli.conftest import Run, thin

__all__ = ["site"]
ANNA = "anna@example.test"


@pytest.fixture
def used(site: Site) -> Site:
    """One account's day: an hour that was restated, and one that was not."""
    with_admin(site.database)
    site.cluster()
    site.map("a", site.user(), 0)
    for number, cost in ((0, 1.0), (1, 2.0), (0, 1.25)):
        site.say({"a": cost}, number)
        site.until(1)
        site.collect()
        site.again(number)
        site.collect()
        site.post()
    return site


def test_an_entry_leads_to_its_hours_and_says_what_was_corrected(run: Run, used: Site) -> None:
    entry = used.value("SELECT max(id) FROM ledger_entries")
    told = thin(run("explain", "--entry", str(entry)).stdout)
    for part in (
        f"entry       {entry}, charge",
        "-0.250000000 USD",
        "receivable → revenue",
        "2026-03-01, its posting 3",
        (
            "eu-1 a 2026-03-01T00Z: revision 2 replaced revision 1 (restated): 1.018330000 by default × 1"
            " → 1.268330000 by default × 1"
        ),
        (
            "The hours moved the charge by 0.250000000 USD, the entries against revenue by 0.250000000:"
            " the same."
        ),
        used.window(0)["raw_sha256"].hex(),
    ):
        assert part in told, told
    found = json.loads(run("explain", "--entry", str(entry), "--json").stdout)
    assert (found["charged_nano"], found["moved_nano"]) == (250_000_000, 250_000_000)
    assert [each["hour"] for each in found["moves"]] == ["2026-03-01T00Z"]


def test_a_day_shows_postings_hours_and_what_replaced_what(run: Run, used: Site) -> None:
    told = thin(run("explain", ANNA, "2026-03-01").stdout)
    assert "\N{REPLACEMENT CHARACTER}" not in told
    for part in (
        "Entered and charged are the same: 3.286660000 USD.",
        "Replaced since it was first stored:",
        "restated",
        used.window(1)["raw_sha256"].hex(),
        "eu-1: 2026-03-01T02Z to 2026-03-01T23Z (22 hours) missing",
    ):
        assert part in told, told
    found = json.loads(run("explain", ANNA, "2026-03-01", "--json").stdout)
    assert (found["agree"], found["entered_nano"]) == (True, 3_286_660_000)
    used.say({"a": 5}, 1)
    used.again(1)
    used.collect()
    assert "hours wait to be posted" in run("explain", ANNA, "2026-03-01").stdout


@pytest.mark.usefixtures("used")
def test_what_cannot_be_explained_is_a_misuse_or_says_why(run: Run) -> None:
    for words in (("a",), ("a", "b", "2026-03-01T00Z", "d"), ("a", "2026-03-01", "--entry", "1")):
        assert "or --entry N" in run("explain", *words, exit_code=2).stderr
    assert "write it like 2026-03-01" in run("explain", ANNA, "March", exit_code=2).stderr
    assert "no entry 99" in run("explain", "--entry", "99", exit_code=1).stderr
    assert "no user 'nobody'" in run("explain", "nobody", "2026-03-01", exit_code=1).stderr


def test_explanations_fit_eighty_columns(run: Run, used: Site, eighty: Callable[..., str]) -> None:
    entry = used.value("SELECT max(id) FROM ledger_entries")
    told = eighty(run("explain", "--entry", str(entry)))
    assert "SHA-256 of the answer: " in told
    assert "was: " in told
    told = eighty(run("explain", ANNA, "2026-03-01"))
    assert "replaced: " in told, told
    assert "OpenCost said:" in eighty(run("explain", "eu-1", "a", "2026-03-01T00Z"), but="{")
