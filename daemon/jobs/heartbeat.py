"""Tells the database that this daemon lives; doctor and dashboard read it."""

import os

from daemon.deps import Deps, Report


def run(deps: Deps) -> Report:
    """Write our row; it fails exactly when the database cannot be written to."""
    with deps.connect("heartbeat") as connection:
        connection.execute(
            "INSERT INTO hopsmeter.daemons (name, pid, version, started_at, seen_at)"
            " VALUES (%(name)s, %(pid)s, %(version)s, %(started_at)s, now())"
            " ON CONFLICT (name) DO UPDATE SET pid = excluded.pid, version = excluded.version,"
            " started_at = excluded.started_at, seen_at = excluded.seen_at, stopped_at = NULL",
            {
                "name": deps.name,
                "pid": os.getpid(),
                "version": deps.version,
                "started_at": deps.started_at,
            },
        )
    return Report()


def farewell(deps: Deps) -> None:
    """Note that this daemon stopped on purpose."""
    with deps.connect("farewell") as connection:
        connection.execute(
            "UPDATE hopsmeter.daemons SET stopped_at = now() WHERE name = %s AND pid = %s",
            [deps.name, os.getpid()],
        )
