"""Brings daily rows and ledger to what the hours say, and marks whose credits ran low or out by it."""

from core.billing.marks import mark_accounts
from core.billing.posting.post import post_due
from core.errors import PostingStuck
from daemon.deps import Deps, Report


def run(deps: Deps) -> Report:
    now = deps.clock()
    with deps.connect("post") as connection:
        try:
            done = post_due(connection, now)
        except PostingStuck:  # the other days are posted
            mark_accounts(connection, now)
            raise
        # All accounts, each minute: whoever posted may have been killed before this.
        mark_accounts(connection, now)
    if not done.hours and not done.closed:
        return Report()
    return Report(
        {"days": done.days, "hours": done.hours, "rows": done.rows, "closed": done.closed}
    )
