"""Proves the invariants of this month's books; the figures stand in /metrics, faults in the log."""

from datetime import timedelta

from core.books.checks import check_books
from daemon import log
from daemon.deps import Deps, Report


def run(deps: Deps) -> Report:
    """Check; an invariant that does not hold is an error in the log, not of the job."""
    now = deps.clock()
    with deps.connect("books") as connection:
        lines = check_books(
            connection,
            now,
            month=f"{now:%Y-%m}",
            delay=timedelta(minutes=deps.settings.collect_delay_minutes),
        )
    for line in lines:
        deps.tally.books.labels(str(line.number)).set(line.ok)
        if not line.ok:
            log.get("books").error(
                "the books do not balance",
                invariant=line.number,
                title=line.title,
                detail=line.detail,
                first=line.rows[:3],
            )
    return Report({"held": sum(line.ok for line in lines), "of": len(lines)})
