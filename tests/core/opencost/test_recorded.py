"""What real servers answered, and the two kinds of nonsense that were seen in the wild."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from core.errors import AnswerRefused
from core.opencost.answer import FLAG_NEGATIVE_COST, FLAG_NEGATIVE_MINUTES, TOTAL, Limits
from core.opencost.read import read_answer
from tests.answers import HOUR_0, LIMITS, allocation, body_of

RECORDED = Path(__file__).resolve().parents[2] / "data/opencost"
WEEK, DAY = "01-website-allocation-example.json", "02-cacher-day-window-negative-idle.json"
AS_RECORDED = Limits(10**15, 10_000, 1_000, 2**50, sentinel="")


@pytest.mark.parametrize("name", [WEEK, DAY])
def test_each_recorded_figure_is_kept_as_it_was_printed(name: str) -> None:
    content = (RECORDED / name).read_bytes()
    answer = read_answer(content, None, AS_RECORDED)
    printed = json.loads(content, parse_float=Decimal)["data"][0]
    assert len(answer.names) == len(printed)
    for row, said in enumerate(printed.values()):
        assert answer.money[row, TOTAL] == Decimal(said["totalCost"]).scaleb(9)
        assert answer.money[row, 0] == Decimal(said["cpuCost"]).scaleb(9)
        assert answer.money[row, :TOTAL].sum() == answer.money[row, TOTAL]


def test_the_recorded_week_is_believed_for_its_own_window() -> None:
    answer = read_answer((RECORDED / WEEK).read_bytes(), None, AS_RECORDED)
    assert answer.complaints == []
    assert answer.window is not None
    assert answer.window[1] - answer.window[0] == timedelta(days=7)
    assert "parts-differ" not in answer.remarks
    assert answer.money[:, TOTAL - 1].any(), "the parts differ from the total by 0.00001"


def test_the_recorded_negative_idle_is_kept_and_flagged() -> None:
    answer = read_answer((RECORDED / DAY).read_bytes(), None, AS_RECORDED)
    assert answer.complaints == []
    idle = answer.names.index("__idle__")
    assert answer.money[idle, TOTAL] < -186 * 10**9
    assert answer.flags[idle] & FLAG_NEGATIVE_COST


@pytest.mark.parametrize("name", [WEEK, DAY])
def test_a_recorded_answer_is_no_answer_for_an_hour(name: str) -> None:
    hour = datetime(2024, 1, 1, tzinfo=UTC)
    answer = read_answer((RECORDED / name).read_bytes(), hour, AS_RECORDED)
    with pytest.raises(AnswerRefused) as caught:
        answer.require_believable(accepted=True)
    assert caught.value.fault == "other-window"


def free(**fields: Any) -> dict[str, Any]:
    nothing: dict[str, Any] = {name: 0 for name in allocation() if "Cost" in name}
    return allocation(**nothing, **fields)


def test_minutes_below_zero_that_cost_nothing_are_kept() -> None:
    """OpenCost issue 4057: `minutes: -2.45`, `end` before `start`, all costs 0, code 200."""
    odd = free(minutes=-2.45, start="2026-03-01T15:00:00Z", end="2026-03-01T14:57:33Z")
    answer = read_answer(body_of({"kube-system": allocation(), "a": odd}), HOUR_0, LIMITS)
    assert answer.complaints == []
    assert answer.flags.tolist() == [0, FLAG_NEGATIVE_MINUTES]


def test_an_absurd_allocation_is_refused_by_namespace_and_field() -> None:
    """OpenCost pull request 1484: one allocation of another planet, inside a good window."""
    absurd = allocation(
        minutes=-4435032,
        cpuCost=-1.97e25,
        cpuCoreHours=-1.39e14,
        start="2027-01-01T00:00:00Z",
        end="2018-01-01T00:00:00Z",
    )
    answer = read_answer(body_of({"kube-system": allocation(), "a": absurd}), HOUR_0, LIMITS)
    assert [complaint.fault for complaint in answer.complaints][:1] == ["out-of-range"]
    assert "a.cpu_cost" in answer.complaints[0].message
    with pytest.raises(AnswerRefused, match="beyond anything"):
        answer.require_believable(accepted=True)
