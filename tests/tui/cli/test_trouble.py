"""The way out that is offered is one that is there."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from core.reports.hours import HourLine, HourState
from tui.cli.trouble import troubles

AT = datetime(2026, 3, 1, tzinfo=UTC)
LINE = HourLine(
    cluster="eu-1",
    hour=AT,
    state="held",
    currency="USD",
    total_nano=10**9,
    namespaces=2,
    revision=1,
    tries=0,
    next_try_at=AT,
    fault="shrank",
    why="It fell.",
    accepted=False,
    decided_by="",
    flags="",
    sha256="aa",
    pending_sha256="bb",
    collected_at=AT,
    settled_at=None,
)


@pytest.mark.parametrize(
    ("state", "revision", "fault", "offered"),
    [
        ("held", 1, "shrank", "`accept` takes the other answer;"),
        ("held", 1, "no-sentinel", "`accept` takes the other answer;"),
        ("held", 1, "two-clusters", "the other answer cannot be stored at all"),
        ("collected", 1, "two-clusters", "the other answer cannot be stored at all"),
        ("collected", 1, "minutes", "`accept` takes the other answer;"),
        # What is the matter with the waiting answer was said before the last try failed.
        ("held", 1, "no-answer-exec", "`accept` takes the other answer, if it can be stored;"),
        ("held", 1, "no-data", "`accept` takes the other answer, if it can be stored;"),
        ("refused", 0, "minutes", "takes it as it is, `gap` gives it up;"),
        ("refused", 0, "two-clusters", "It cannot be stored at all."),
        ("refused", 0, "no-answer-exec", "takes it as it is, if it can be stored,"),
    ],
)
def test_accept_is_offered_where_it_may_be_done(
    state: HourState, revision: int, fault: str, offered: str
) -> None:
    (found,) = troubles([replace(LINE, state=state, revision=revision, fault=fault)])
    assert offered in found.way_out
    assert ("accept" in found.way_out) is ("cannot be stored" not in offered)
    assert ("`gap`" in found.way_out or "hours gap" in found.way_out) is (revision == 0)
    assert ("hours keep" in found.way_out) is (revision > 0)
