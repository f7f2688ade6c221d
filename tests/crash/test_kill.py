"""Kill -9 anywhere in a catch-up, start again, and the books are those of a run undisturbed."""

import pytest

from sandbox.world import World
from tests.crash.books import Books
from tests.crash.conftest import NewScene
from tests.crash.killers import (
    FAULT_DEATHS,
    AtFault,
    Gate,
    Look,
    Plan,
    after_hours,
    at_late_map,
)
from tests.crash.scene import play

QUICK, LONG = range(10), range(100, 200)
QUICK_DEATHS = 2
FAULT_TIMES = 3
"""One more than deaths: the last ask that goes wrong is lived through."""
CHAOS, BEYOND = pytest.mark.chaos, pytest.mark.long
GATES = (
    pytest.param("allocations", "hopsmeter-store%", after_hours(3), id="copy"),
    pytest.param("usage_daily", "hopsmeterd post", after_hours(1), id="posting", marks=BEYOND),
    pytest.param(
        *("user_projects", "hopsmeterd quick commands", at_late_map), id="mapping", marks=BEYOND
    ),
    pytest.param(
        *("raw_answers", "hopsmeter-store%", after_hours(5)), id="end of store", marks=BEYOND
    ),
    pytest.param("cost_daily", "hopsmeterd post", after_hours(1), id="closing", marks=BEYOND),
    pytest.param(
        *("audit_log", "hopsmeterd quick commands", at_late_map),
        id="audit of mapping",
        marks=BEYOND,
    ),
    pytest.param(
        *("namespaces", "hopsmeter-store%", after_hours(0)), id="first store", marks=CHAOS
    ),
    pytest.param(
        *("postings", "hopsmeterd post", after_hours(1)), id="end of posting", marks=CHAOS
    ),
)


@pytest.mark.parametrize("seed", QUICK)
def test_books_are_the_same_after_kills(seed: int, new_scene: NewScene, undisturbed: Books) -> None:
    scene = new_scene(killer=Plan(seed, QUICK_DEATHS))
    play(scene, undisturbed)
    assert scene.deaths


@pytest.mark.chaos
@pytest.mark.parametrize("seed", LONG)
def test_books_are_the_same_after_many_kills(
    seed: int, new_scene: NewScene, undisturbed: Books
) -> None:
    scene = new_scene(killer=Plan(seed))
    play(scene, undisturbed)
    assert scene.deaths


@pytest.mark.parametrize(("table", "backend", "opens"), GATES)
def test_books_are_the_same_after_a_kill_within_a_statement(
    table: str, backend: str, opens: Look, new_scene: NewScene, undisturbed: Books
) -> None:
    gate = Gate(table, backend, opens)
    scene = new_scene(killer=gate)
    try:
        play(scene, undisturbed)
    finally:
        gate.release()
    assert scene.deaths == [f"at {table}"]


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        pytest.param("frozen_handshake", {}, marks=BEYOND),
        pytest.param("frozen_request", {}, marks=CHAOS),
        pytest.param("cut", {"bytes": 100}, marks=BEYOND),
    ],
)
def test_books_are_the_same_after_kills_while_a_cluster_does_not_answer(
    kind: str,
    settings: dict[str, int],
    world: World,
    new_scene: NewScene,
    undisturbed: Books,
) -> None:
    number = world["us-gpu"].faults.add(kind, times=FAULT_TIMES, **settings)
    scene = new_scene(killer=AtFault("us-gpu", number))
    play(scene, undisturbed)
    assert len(scene.deaths) == FAULT_DEATHS
    assert world["us-gpu"].faults.taken(number) == FAULT_TIMES
