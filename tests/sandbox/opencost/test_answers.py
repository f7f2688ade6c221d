"""OpenCost's answers beside those that real servers gave."""

import json
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from sandbox.clock import WorldClock
from sandbox.faults import FaultBook
from sandbox.opencost.api import Opencost
from sandbox.opencost.shape import COSTS, go_json, go_number
from sandbox.story import Story
from tests.sandbox.clients import target_of

RECORDED = sorted((Path(__file__).parents[2] / "data" / "opencost").glob("*.json"))
NEWER_THAN_RECORDED = {
    *("cpuCoreLimitAverage", "cpuCostIdle", "gpuCostIdle", "ramByteLimitAverage", "ramCostIdle")
}
NOW = datetime(2026, 3, 4, 12, 20, 30, tzinfo=UTC)
HOUR = datetime(2026, 3, 4, 11, tzinfo=UTC)


def opencost(namespaces: int = 40) -> Opencost:
    clock = WorldClock(NOW)
    story = Story(7, "eu-prod", namespaces)
    return Opencost(story, "eu-prod", clock, FaultBook(clock), timedelta(days=15))


async def ask(query: str) -> tuple[int, Any]:
    reply = await opencost().get(f"/allocation?{query}")
    return reply.status, json.loads(reply.body)


async def rows(query: str) -> dict[str, Any]:
    status, answer = await ask(query)
    assert (status, answer["code"], answer["status"], len(answer["data"])) == (
        200,
        200,
        "success",
        1,
    )
    return dict(answer["data"][0])


def an_hour(hour: datetime = HOUR, aggregate: str = "cluster,namespace") -> str:
    return target_of(hour, aggregate).partition("?")[2]


def recorded_rows() -> list[dict[str, Any]]:
    return [
        row
        for path in RECORDED
        for rows in json.loads(path.read_text())["data"]
        for row in rows.values()
    ]


async def test_rows_have_the_fields_of_recorded_answers_in_their_order() -> None:
    assert len(RECORDED) == 2
    ours = list((await rows(an_hour()))["eu-prod/kube-system"])
    recorded = {field for row in recorded_rows() for field in row}
    assert set(ours) - recorded == NEWER_THAN_RECORDED
    assert recorded <= set(ours)
    for row in recorded_rows():
        assert [field for field in ours if field in row] == list(row)


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_numbers_print_as_real_servers_printed_them(path: Path) -> None:
    text = path.read_text()
    minified = re.sub(r"\s+", "", text)  # no string in them holds a space
    assert go_json(json.loads(text, parse_int=float)) == minified


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-0.0000001, "0"),
        (10.0, "10"),
        (0.00001, "0.00001"),
        (0.000004, "0"),
        (1.234567, "1.23457"),
        (40855853856.91022, "40855853856.91022"),
        (1e17, "100000000000000000"),
        (-1.39e14, "-139000000000000"),
        (-1.97e25, "-1.97e+25"),
        (float("nan"), "null"),
        (float("-inf"), "null"),
    ],
)
def test_numbers_are_rounded_and_printed_as_go_does(value: float, text: str) -> None:
    assert go_number(value) == text


async def test_parts_and_total_are_rounded_each_by_itself() -> None:
    differences = set()
    for row in (await rows(an_hour())).values():
        parts = sum((Decimal(repr(row[cost])) for cost in COSTS), Decimal(0))
        differences.add(abs(parts - Decimal(repr(row["totalCost"]))))
    assert Decimal(0) < max(differences) <= Decimal("0.00003")


async def test_keys_are_sorted_and_named_as_aggregated() -> None:
    by_both, by_namespace = await rows(an_hour()), await rows(an_hour(aggregate="namespace"))
    assert list(by_both) == sorted(by_both)
    assert [f"eu-prod/{key}" for key in by_namespace] == list(by_both)
    idle = by_both["eu-prod/__idle__"]
    assert "namespace" not in idle["properties"]
    assert by_both["eu-prod/opencost"]["properties"]["namespace"] == "opencost"
    assert list(await rows(an_hour(aggregate="cluster"))) == ["__idle__", "eu-prod"]


async def test_an_unknown_aggregate_bills_everything_to_nobody() -> None:
    assert "" in await rows(an_hour(aggregate="namespaces"))


async def test_idle_is_there_only_when_it_is_asked_for() -> None:
    without = an_hour().replace("&includeIdle=true", "")
    assert "eu-prod/__idle__" not in await rows(without)
    assert "eu-prod/__unmounted__" in await rows(without)


async def test_window_1h_is_the_open_hour_and_has_only_its_beginning() -> None:
    row = (await rows("window=1h&aggregate=namespace"))["kube-system"]
    assert row["window"] == {"start": "2026-03-04T12:00:00Z", "end": "2026-03-04T13:00:00Z"}
    assert (row["end"], row["minutes"]) == ("2026-03-04T12:20:30Z", 20.5)
    closed = (await rows("window=1772622000,1772625600&aggregate=namespace"))["kube-system"]
    assert closed["minutes"] == 60
    assert row["totalCost"] < closed["totalCost"] / 2


async def test_hours_beyond_retention_and_to_come_are_empty_sets() -> None:
    assert await rows(an_hour(NOW - timedelta(days=15, hours=2))) == {}
    assert await rows(an_hour(HOUR + timedelta(days=1))) == {}
    assert await rows(an_hour(HOUR - timedelta(days=14))) != {}


async def test_a_day_is_the_sum_of_its_hours() -> None:
    day = datetime(2026, 3, 3, tzinfo=UTC)
    whole = (await rows("window=yesterday&aggregate=namespace"))["hopsworks"]
    hours = [
        (await rows(an_hour(day + n * timedelta(hours=1), "namespace")))["hopsworks"]["totalCost"]
        for n in range(24)
    ]
    assert whole["minutes"] == 1440
    assert whole["totalCost"] == pytest.approx(sum(hours), abs=24 * 0.00001)


async def test_a_step_divides_the_window_into_sets() -> None:
    _, answer = await ask("window=yesterday&aggregate=namespace&step=1h")
    assert len(answer["data"]) == 24


async def test_errors_have_the_bodies_of_the_real_ones() -> None:
    reply = await opencost().get("/allocation?window=bogus")
    assert (reply.status, reply.content_type) == (400, "application/json")
    assert reply.body == b"Invalid 'window' parameter: illegal window: bogus\n"
    status, answer = await ask("window=1772586000,1772582400")
    assert (status, answer["code"], answer["data"]) == (500, 500, None)
    assert answer["message"].startswith("Error: illegal window")
    status, answer = await ask("window=10,3610&accumulate=true")
    assert status == 500
    assert "empty AssetSet in accumulation" in answer["message"]


async def test_the_older_path_and_health_answer_too() -> None:
    older = (
        await opencost().get(target_of(HOUR).replace("/allocation", "/allocation/compute"))
    ).body
    assert older == (await opencost().get(target_of(HOUR))).body
    health = await opencost().get("/healthz")
    assert (health.status, health.body) == (200, b"")
    assert (await opencost().get("/nothing")).status == 404


async def test_ten_thousand_namespaces_are_answered_from_the_cache_again() -> None:
    big = opencost(namespaces=10_000)
    first, again = await big.get(target_of(HOUR)), await big.get(target_of(HOUR))
    assert again.body is first.body
    assert 8_000 < len(json.loads(first.body)["data"][0]) <= 10_002
