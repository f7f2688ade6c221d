"""`python -m sandbox.demo`: the main job on a world in a box, with the real programs.

A private PostgreSQL, a real `hopsmeterd`, three clusters of a sandbox that speaks Kubernetes and
OpenCost; the hours of the last days are caught up through exec, as from a real cluster. It lives
in one folder; killed anywhere and started again it goes on from there.
"""

import argparse
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg

from core.clock import HOUR, hour_text, last_closed_hour, utc_now
from core.db.connect import connect
from core.errors import Conflict, DatabaseFault
from core.metering.policy import Policy
from core.settings import client_url, load
from sandbox.demo import month, place
from sandbox.demo.house import (
    DemoFailed,
    House,
    arguments_of_world,
    daemon,
    make_house,
    program,
)
from sandbox.demo.setup import ADMIN_EMAIL, ADMIN_ID, add_clusters, add_people
from sandbox.demo.watch import ClusterState, catch_up, console, say, summary
from sandbox.remote import RemoteWorld, world_process

HOURS, NAMESPACES, CLUSTERS, SEED = 48, 40, 3, 7
HOURS_MAX = 14 * 24
"""The sandbox's OpenCost keeps 15 days, as Prometheus usually does."""
BAD_CLUSTER, BAD_ASKS = "us-gpu", 3

Connection = psycopg.Connection[Any]


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    folder: Path = options.state.absolute()
    if options.month:
        folder /= place.MONTH
    try:
        return _lived(options, folder)
    except KeyboardInterrupt:
        say(f"Stopped. {_goes_on(options)}")
        return 130


def _goes_on(options: argparse.Namespace) -> str:
    if options.month:
        return "Started again, the month begins anew."
    return "Start it again and it goes on from here."


def _lived(options: argparse.Namespace, folder: Path) -> int:
    try:
        house = _moved_in(folder, anew=options.fresh or options.month)
    except DemoFailed as fault:
        return _stopped(fault)
    try:
        return month.tell(house) if options.month else _demo(options, house)
    except (DemoFailed, Conflict) as fault:
        # Of two that start at once, the daemon of one finds the other's: its words are for a host.
        return _stopped(_no_room(folder) or place.busy(folder) or fault)
    except (psycopg.OperationalError, psycopg.InterfaceError, DatabaseFault) as fault:
        if full := _no_room(folder, fault):
            return _stopped(full)
        # Whose own server it is: where the daemon is killed, this is what shows of it.
        say(f"The demo's daemon or its database ended. {_goes_on(options)}")
        return 1
    except OSError as fault:
        if not place.is_no_room(fault):
            raise
        return _stopped(place.no_room(folder))


def _stopped(why: Exception) -> int:
    say(f"The demo stops: {why}")
    return 1


def _moved_in(folder: Path, *, anew: bool) -> House:
    place.prepare(folder, anew=anew)
    try:
        return make_house(folder)
    except (OSError, UnicodeError) as fault:
        raise place.cannot_live(folder, fault) from None


def _no_room(folder: Path, fault: Exception | None = None) -> DemoFailed | None:
    """Return what to say where a full disk is behind it: on it, nothing goes on from anywhere."""
    full = isinstance(fault, psycopg.errors.DiskFull) or place.lacks_room(folder)
    return place.no_room(folder) if full else None


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='make demo DEMO="…"', description="The main job on a world in a box."
    )
    parser.add_argument("--headless", action="store_true", help="tell the story, no dashboard")
    parser.add_argument(
        "--hours", type=_hours, default=HOURS, help=f"closed hours to catch up (1 to {HOURS_MAX})"
    )
    parser.add_argument(
        "--month", action="store_true", help="a month of one cluster, hour by hour, each time anew"
    )
    parser.add_argument("--state", type=Path, default=Path(".demo"), help="where it lives (.demo)")
    parser.add_argument(
        "--fresh", action="store_true", help="throw away first what a demo left there"
    )
    options = parser.parse_args(arguments)
    if options.month and not options.headless:
        parser.error("--month tells its story without the dashboard: add --headless")
    return options


def _hours(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= HOURS_MAX:
        raise argparse.ArgumentTypeError(f"hours are a number from 1 to {HOURS_MAX}")
    return int(text)


def _demo(options: argparse.Namespace, house: House) -> int:
    started_s = time.monotonic()
    say(
        f"A world of {CLUSTERS} clusters, {CLUSTERS * NAMESPACES} namespaces; state in {house.folder.name}/"
    )
    first_time = not (house.folder / "state" / "keyring").exists()
    if first_time:
        house.run("secrets", "init")
    with (
        world_process(*arguments_of_world(CLUSTERS, NAMESPACES, SEED)) as world,
        daemon(house),
    ):
        say(f"hopsmeterd runs on its own PostgreSQL ({time.monotonic() - started_s:.1f} s)")
        if options.headless:
            return _headless(options, house, world, started_s)
        _set_up(options, house, world)
        return subprocess.call([program("hopsmeter")], env=dict(house.environment))


def _set_up(options: argparse.Namespace, house: House, world: RemoteWorld) -> None:
    settings = load(house.environment)
    url = client_url(settings)
    since = last_closed_hour(utc_now(), Policy().delay) - (options.hours - 1) * HOUR
    with connect(url, name="demo") as connection:
        if not connection.execute("SELECT 1 FROM hopsmeter.logins").fetchone():
            house.run("admin", "bootstrap", ADMIN_ID, ADMIN_EMAIL, "--name", "You")
        if not connection.execute("SELECT 1 FROM hopsmeter.hopsworks_clusters").fetchone():
            world.add_fault(BAD_CLUSTER, "error_500", times=BAD_ASKS)
        say_since(connection, since)
        add_clusters(house, connection, world, since)
        withheld = _withheld(world)
        commands = add_people(connection, world, since, withheld)
    say(f"{len(world.clusters)} clusters registered, {commands} commands carried out")
    say(
        "To look around, in another terminal while this runs:\n"
        f"  {_as_typed(program('hopsmeter'))} --config {_as_typed(house.config_path)} cluster list"
    )


def say_since(connection: Connection, since: datetime) -> None:
    """Say so where an earlier demo's clusters are there: they are metered since what it was told."""
    row = connection.execute(
        "SELECT min(metering_since) FROM hopsmeter.hopsworks_clusters"
    ).fetchone()
    before = row[0] if row else None
    if before is None:
        return
    say(f"Going on with what is there, metered since {hour_text(before)}.")
    if before != since:
        say("  --hours tells only a new demo where to begin; --fresh throws this one away first.")


def _as_typed(path: str | Path) -> str:
    """Return a path as short as it may be typed from here."""
    here, path = Path.cwd(), Path(path)
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))


def _withheld(world: RemoteWorld) -> str:
    """Name one namespace whose owner nobody told us: it is shown as unmapped, with its money."""
    entry = world.description["ownership"][0]
    return f"{entry['cluster']}/{entry['namespace']}"


def _headless(
    options: argparse.Namespace, house: House, world: RemoteWorld, started_s: float
) -> int:
    _set_up(options, house, world)

    def ask_again(state: ClusterState) -> None:
        say(f"  {state.outcome}")
        say(
            f"  It is left alone for a while; an operator asks again: hopsmeter collect {state.name}"
        )
        house.run("collect", state.name, "--no-wait")

    def look_round() -> None:
        if place.lacks_room(house.folder, place.FULL_BYTES):
            raise place.no_room(house.folder)

    settings = load(house.environment)
    with connect(client_url(settings), name="demo") as connection:
        took_s = catch_up(connection, world.clusters, ask_again, look_round)
        say(f"Caught up in {took_s:.1f} s.")
        summary(connection)
    for command in (("namespace", "unmapped"), ("hours",)):
        say(f"\n$ hopsmeter {' '.join(command)}")
        console.file.flush()
        house.run(*command, quiet=False)
    say("\n$ hopsmeter books check")
    console.file.flush()
    code = house.run("books", "check", quiet=False).returncode
    say(
        f"\n{'The books balance' if code == 0 else 'THE BOOKS DO NOT BALANCE'};"
        f" {time.monotonic() - started_s:.1f} s in all."
    )
    return code


if __name__ == "__main__":
    sys.exit(main())
