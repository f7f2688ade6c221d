"""Drops raw answers past their time, and makes the coming month's partitions."""

from core.metering.retention import drop_old_answers, prepare_months
from daemon.deps import Deps, Report


def run(deps: Deps) -> Report:
    now = deps.clock()
    with deps.connect("retention") as connection:
        prepare_months(connection, now)
        dropped = drop_old_answers(connection, now, keep_days=deps.settings.raw_keep_days)
    return Report({"months_dropped": ", ".join(dropped)} if dropped else {})
