"""What an operator would do first: clusters, users, and whose namespaces are."""

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import psycopg

from core.clock import hour_text
from core.commands.arguments import Arguments, NamespaceMap, UserAdd
from core.commands.submit import outcome, submit, wait
from sandbox.demo.house import DemoFailed, House

ADMIN_ID, ADMIN_EMAIL = "auth0|demo-admin", "you@example.com"
COMMAND_WAIT_S = 60.0
KEYS = UUID("6f1c1f5e-5d51-4b8c-9d1c-1f60a0c3a7de")
"""Commands are named by what they say, so a demo that was killed submits none of them twice."""

Connection = psycopg.Connection[Any]


def add_clusters(house: House, connection: Connection, world: Any, since: datetime) -> None:
    """Register the world's clusters; after a restart the world has new ports and credentials."""
    _await_earlier(connection)
    rows = connection.execute("SELECT name FROM hopsmeter.hopsworks_clusters").fetchall()
    known = {row[0] for row in rows}
    for name, cluster in world.clusters.items():
        path = house.folder / f"{name}.kubeconfig"
        path.touch(mode=0o600)
        path.write_text(cluster["kubeconfig"])
        if name in known:
            house.run("cluster", "edit", name, "--kubeconfig", str(path))
        else:
            house.run(*_added(name, path, since))
        path.unlink()


def _await_earlier(connection: Connection) -> None:
    """Let what a killed demo had asked for end first: a cluster that is about to be there is there."""
    open_ones = connection.execute(
        "SELECT id FROM hopsmeter.commands WHERE state IN ('submitted', 'working') ORDER BY id"
    ).fetchall()
    for (command_id,) in open_ones:
        wait(connection, command_id, COMMAND_WAIT_S)


def _added(name: str, path: Path, since: datetime) -> tuple[str, ...]:
    return (
        *("cluster", "add", name),
        *("--kubeconfig", str(path), "--api-url", f"https://{name}.hopsworks.example"),
        *("--metering-since", hour_text(since)),
    )


def add_people(connection: Connection, world: Any, since: datetime, withheld: str) -> int:
    """Add users and map their namespaces, but `withheld` (cluster/namespace); return how many.

    What an earlier, perhaps killed, demo did already is not asked for again.
    """
    described = world.description
    users = {row[0] for row in connection.execute("SELECT id FROM hopsmeter.users").fetchall()}
    owned = connection.execute(
        "SELECT c.name || '/' || p.namespace, u.id FROM hopsmeter.user_projects p"
        " JOIN hopsmeter.hopsworks_clusters c ON c.id = p.cluster_id"
        " JOIN hopsmeter.users u ON u.no = p.user_no"
    ).fetchall()
    done = {withheld, *(f"{place} {user}" for place, user in owned)}
    commands: list[tuple[str, Arguments]] = [
        ("user.add", UserAdd(user=each["user_id"], email=each["email"], name=each["name"]))
        for each in described["users"]
        if each["user_id"] not in users
    ]
    for entry in described["ownership"]:
        place = f"{entry['cluster']}/{entry['namespace']}"
        if place not in done and f"{place} {entry['user_id']}" not in done:
            begins = max(datetime.fromisoformat(entry["from_hour"]), since)
            commands.append(("namespace.map", _mapped(entry, begins)))
    _carry_out(connection, commands)
    return len(commands)


def _mapped(entry: dict[str, Any], begins: datetime) -> NamespaceMap:
    return NamespaceMap(
        cluster=entry["cluster"],
        namespace=entry["namespace"],
        user=entry["user_id"],
        project=entry["project"],
        from_hour=hour_text(begins),
    )


def _carry_out(connection: Connection, commands: Iterable[tuple[str, Arguments]]) -> None:
    submitted = [
        submit(connection, name, arguments, why="demo", key=uuid5(KEYS, repr(arguments)))
        for name, arguments in commands
    ]
    for command_id in submitted:
        ended = outcome(connection, command_id)
        if not ended.ended:
            ended = wait(connection, command_id, COMMAND_WAIT_S)
        if ended.state != "done":
            raise DemoFailed(f"A command of the set-up was not done: {ended.error or ended.waits}")
