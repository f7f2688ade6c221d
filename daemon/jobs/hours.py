"""Looks which hours are due and begins visits to their clusters; the visits go on by themselves."""

from daemon.deps import Deps, Report


def run(deps: Deps) -> Report:
    """Look once; never waits for a cluster."""
    collector = deps.collecting.collector(deps)
    with deps.connect("hours") as connection:
        found = collector.look(connection)
    facts = {"opened": found.opened, "freed": found.freed, "visits": found.begun}
    return Report(facts if any(facts.values()) else {})


def run_through(deps: Deps) -> Report:
    """Collect until nothing is left that can be done now: `tick hours`."""
    collector = deps.collecting.collector(deps)
    with deps.connect("hours") as connection:
        answered = collector.work_through(connection)
    return Report({"answered": answered})
