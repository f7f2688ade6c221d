"""How tests drive the dashboard: a frozen clock, and waiting for answers instead of seconds."""

import asyncio
import dataclasses
from typing import Any

import pytest
from textual.pilot import Pilot

from core.reports.session import Session, session
from tests.database import Database
from tests.factories import NOW
from tui import feeds
from tui.app import Dashboard
from tui.widgets.line import Line
from tui.widgets.listing import Listing

ANSWER_LIMIT_S = 10.0
STEP_S = 0.01


def dashboard(dsn: str, **options: Any) -> Dashboard:
    """Return an app whose clock stands still and that asks again only when it is told to."""
    return Dashboard(
        dsn, **{"environment": "demo", "now": lambda: NOW, "interval_s": 60.0, **options}
    )


def of(database: Database, **options: Any) -> Dashboard:
    return dashboard(database.url, **options)


def app_of(pilot: Pilot[Any]) -> Dashboard:
    assert isinstance(pilot.app, Dashboard)
    return pilot.app


async def settled(pilot: Pilot[Any]) -> None:
    """Ask the question on the screen again, wait for its answer, and let it be painted."""
    app = app_of(pilot)
    before = app.answered
    app.ask(app.views[-1].question)
    await until(pilot, lambda: app.answered > before)
    await pilot.pause()
    await pilot.pause()


async def until(pilot: Pilot[Any], true: Any) -> None:
    async with asyncio.timeout(ANSWER_LIMIT_S):
        while not true():
            await pilot.pause(STEP_S)


def listing(pilot: Pilot[Any], name: str) -> Listing:
    return app_of(pilot).views[-1].query_one(f"#{name}", Listing)


def said(pilot: Pilot[Any], line: str = "said") -> str:
    return app_of(pilot).views[-1].query_one(f"#{line}", Line).text


def on_screen(pilot: Pilot[Any]) -> str:
    """Return the screen's text, line by line."""
    strips = pilot.app.screen._compositor.render_strips()
    return "\n".join(strip.text for strip in strips)


def name_the_database(patch: pytest.MonkeyPatch) -> None:
    """Show the same database and person in every picture."""

    def named(connection: Any) -> Session:
        return dataclasses.replace(
            session(connection), database="hopsmeter", email="olaf@example.org"
        )

    patch.setattr(feeds, "session", named)
