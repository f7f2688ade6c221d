"""What each test pays for a database of its own."""

from time import perf_counter

from tests.database import Connection, Server, administer, cloned

CLONES = 45
COST_MAX_S = 0.040


def test_a_fresh_database_with_the_whole_schema_costs_at_most_40_ms(postgres: Server) -> None:
    """The least of many, since the tests beside this one can only add to it."""
    with administer(postgres) as admin:
        assert min(_clone_s(admin, postgres) for _ in range(CLONES)) <= COST_MAX_S


def _clone_s(admin: Connection, server: Server) -> float:
    """Until the test's first query is answered; dropping it waits for a checkpoint, and nobody."""
    began = perf_counter()
    with cloned(admin, server) as database:
        found = database.connect().execute("SELECT to_regclass('allocations') IS NOT NULL")
        took = perf_counter() - began
        assert found.fetchone() == (True,)
    return took
