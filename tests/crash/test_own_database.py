"""The daemon's own PostgreSQL dies with it, or dies under it: the catch-up ends all the same."""

import os
import signal
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sandbox.world import World
from tests.crash.books import Books
from tests.crash.killers import Plan
from tests.crash.scene import HOURS, Killer, Scene, Span, play

CHAOS = pytest.mark.chaos
SEEDS = (
    pytest.param(50, marks=pytest.mark.long),
    *(pytest.param(seed, marks=CHAOS) for seed in range(51, 61)),
)
DATABASE_DEATHS = (HOURS // 4, HOURS)
"""Hours stored by then."""


@dataclass
class DatabaseKiller:
    """Ends the server as a crash does, under a daemon that lives on."""

    signal: signal.Signals
    left: list[int] = field(default_factory=lambda: list(DATABASE_DEATHS))

    def due(self, scene: Scene) -> str:
        if self.left and scene.hours_stored >= self.left[0]:
            del self.left[0]
            pid_file = scene.state / "postgres/data/postmaster.pid"
            os.kill(int(pid_file.read_text().split()[0]), self.signal)
        return ""


def own(world: World, span: Span, state: Path, killer: Killer) -> Scene:
    return Scene(world, span, state, killer=killer)


@pytest.mark.parametrize("seed", SEEDS)
def test_books_are_the_same_where_the_database_dies_with_its_daemon(
    seed: int, world: World, span: Span, state: Path, undisturbed: Books
) -> None:
    scene = own(world, span, state, Plan(seed))
    play(scene, undisturbed)
    assert scene.deaths


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGKILL, marks=pytest.mark.long),
        pytest.param(signal.SIGQUIT, marks=CHAOS),
    ],
)
def test_books_are_the_same_where_the_database_dies_under_its_daemon(
    number: signal.Signals, world: World, span: Span, state: Path, undisturbed: Books
) -> None:
    killer = DatabaseKiller(number)
    scene = own(world, span, state, killer)
    play(scene, undisturbed)
    assert (killer.left, scene.deaths) == ([], [])
    told = [line["event"] for line in scene.daemon.log]
    assert told.count("own database started") == 1 + len(DATABASE_DEATHS)
