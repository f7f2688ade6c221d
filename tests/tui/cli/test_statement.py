"""`hopsmeter statement`, `books months` and `books close`, from typed words to a document."""

import csv
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.core.billing.ledger_site import granted, pays
from tests.core.commands.carrier import carrying, publish, set_up_roles, with_admin
from tests.core.metering.site import FIRST, Site, site
from tests.tui.cli.conftest import Run, thin
from tui.cli import session as sessions

__all__ = ["site"]
METERED = datetime(2026, 3, 31, 21, tzinfo=UTC)
NUMBER = int((METERED - FIRST).total_seconds()) // 3600
ANNA = "anna@example.test"


@pytest.fixture
def used(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """The last three hours of March, settled, and one day later; everybody's clock stands there."""
    with_admin(site.database)
    site.cluster(metering_since=METERED)
    anna = site.user()
    site.map("a", anna, NUMBER)
    pays(site, anna, "hybrid", 20)
    site.until(NUMBER)
    granted(site, anna, 2, key="welcome")
    for number in range(NUMBER, NUMBER + 3):
        site.say({"a": 1}, number)
    site.until(NUMBER + 2)
    site.collect()
    site.now += timedelta(hours=30)
    site.collect()
    site.post()
    monkeypatch.setattr(sessions, "utc_now", lambda: site.now)
    return site


def test_a_statement_is_printed_in_each_form(run: Run, used: Site, tmp_path: Path) -> None:
    assert used.states()[:3] == ["settled"] * 3
    words = ("statement", ANNA, "--month", "2026-03")
    told = thin(run(*words).stdout)
    for part in (
        "Provisional: the month is open",
        "-1.054990000",
        "lot 1 2.000000000",
        "default × 1",
        "credits granted welcome",
        "eu-1: 3 hours, all of them in the books.",
        "equal to the last digit",
    ):
        assert part in told, told
    file = tmp_path / "anna.html"
    assert "written. Provisional" in run(*words, "--html", str(file)).stdout
    assert file.read_text(encoding="utf-8") == run(*words, "--html", "-").stdout
    rows = list(csv.DictReader(io.StringIO(run(*words, "--csv").stdout)))
    assert [row["part"] for row in rows] == ["opening", "charge", "day", "movement", "closing"]
    assert (rows[1]["charge"], rows[-1]["receivable"]) == ("3.054990000", "-1.054990000")
    found = json.loads(run(*words, "--json").stdout)
    assert (found["state"], found["closing"]["receivable_nano"]) == ("provisional", -1_054_990_000)
    assert run(*words, "--json").stdout == run(*words, "--json").stdout


def test_a_statement_names_what_was_restated_within_its_month(run: Run, used: Site) -> None:
    used.say({"a": 1.5}, NUMBER + 1)
    used.again(NUMBER + 1)
    used.collect()
    used.post()
    words = ("statement", ANNA, "--month", "2026-03")
    told = thin(run(*words).stdout)
    assert "Corrections within this month, in the charges above:" in told
    words_told = "2026-03-31 22Z eu-1 a 0.500000000 the source restated what they cost"
    assert words_told in " ".join(told.split())
    assert "Corrections within this month" in run(*words, "--html", "-").stdout
    rows = csv.DictReader(io.StringIO(run(*words, "--csv").stdout))
    (row,) = [row for row in rows if row["part"] == "restated"]
    assert (row["what"], row["charge"]) == (
        "22Z: the source restated what they cost",
        "0.500000000",
    )
    (day,) = json.loads(run(*words, "--json").stdout)["restated"]["days"]
    assert (day["what"], day["hours"], day["moved_nano"]) == ("restated", [22], 500_000_000)


def test_a_month_is_closed_and_then_final(run: Run, used: Site) -> None:
    words = ("books", "close", "2026-03", "--reason", "invoiced")
    keyring, role = publish(used.database), set_up_roles(used.database)
    with carrying(used.database, keyring, role=role, clock=lambda: used.now):
        tried = run(*words, "--dry-run").stdout
        assert used.value("SELECT count(*) FROM statements") == 0
        closed = run(*words).stdout
        again = run(*words, exit_code=1).stderr
        running = run("books", "close", "2026-04", "--reason", "x", exit_code=1).stderr
    assert closed.splitlines()[0] in tried
    assert "2026-03 is closed, and 1 statement is frozen (3.054990000 USD charged)." in thin(closed)
    assert "was closed on" in again
    assert (
        "2026-04 cannot be closed yet. (1) the month is not over: it is over at 2026-05-01"
        in running
    )
    told = run("statement", ANNA, "--month", "2026-03").stdout
    assert "Final: the month was closed on" in told
    assert "SHA-256 of the frozen figures" in told
    listed = json.loads(run("books", "months", "--json").stdout)
    assert [(each["month"], each["is_closed"]) for each in listed] == [
        ("2026-04", False),
        ("2026-03", True),
    ]
    assert (
        "2026-04: the month is not over: it is over at 2026-05-01T00Z."
        in run("books", "months").stdout
    )


def test_what_no_statement_can_be_made_of_says_why(run: Run, used: Site, tmp_path: Path) -> None:
    ahead = f"{used.now + timedelta(days=40):%Y-%m}"
    assert "has not begun" in run("statement", ANNA, "--month", ahead, exit_code=1).stderr
    assert "no user 'nobody'" in run("statement", "nobody", exit_code=1).stderr
    assert "in no currency yet" in run("statement", "auth0|boss").stdout
    both = run("statement", ANNA, "--html", "x", "--csv", exit_code=2).stderr
    assert "Choose --html, --json or --csv." in both
    nowhere = run("statement", ANNA, "--html", str(tmp_path / "no" / "x"), exit_code=1).stderr
    assert "cannot be written" in nowhere


def test_a_statement_fits_eighty_columns(run: Run, used: Site, eighty: Callable[..., str]) -> None:
    assert used.states()
    told = eighty(run("statement", ANNA, "--month", "2026-03"))
    assert "plan: default × 1" in told
    assert "came: 2.000000000" in told
    eighty(run("credits", "show", ANNA))
    eighty(run("credits", "statement", ANNA, "--month", "2026-03"))
