"""The demo's words: what a second start says of what it finds."""

import pytest

from core.clock import HOUR
from sandbox.demo import __main__ as demo
from tests.database import Database
from tests.factories import SINCE, add_cluster


def test_a_second_demo_says_since_when_the_first_one_meters(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(demo, "say", said.append)
    connection = database.connect()
    demo.say_since(connection, SINCE)
    assert said == [], "a new demo begins where it was told to"
    add_cluster(connection, metering_since=SINCE)
    demo.say_since(connection, SINCE)
    assert said == ["Going on with what is there, metered since 2026-03-01T00Z."]
    demo.say_since(connection, SINCE - 42 * HOUR)
    assert "--fresh" in said[-1]
