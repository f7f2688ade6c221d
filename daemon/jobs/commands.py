"""Carries out the commands that wait: `tick commands`; `run` has the inbox, which is told."""

from daemon import inbox
from daemon.deps import Deps, Report


def run(deps: Deps) -> Report:
    carried = []
    with deps.connect("commands") as connection:
        for lane in ("quick", "slow"):
            carried += inbox.drain(connection, deps, lane)
    return Report({"commands": len(carried)} if carried else {})
