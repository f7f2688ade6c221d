"""Brings the daily rows of touched days to what their allocations say."""

from core.billing.post import post_due
from daemon.deps import Deps, Report


def run(deps: Deps) -> Report:
    with deps.connect("post") as connection:
        done = post_due(connection, deps.clock())
    if not done.hours and not done.closed:
        return Report()
    return Report(
        {"days": done.days, "hours": done.hours, "rows": done.rows, "closed": done.closed}
    )
