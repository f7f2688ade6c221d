"""`hopsmeter cluster …`"""

from pathlib import Path
from typing import Any, Final

import click
from msgspec import UNSET

from core.clock import hour_text
from core.clusters.cluster import Cluster, find_cluster
from core.commands.arguments import ClusterAdd, ClusterEdit, ClusterNamed
from core.commands.submit import Outcome
from core.reports.clusters import ClusterLine, clusters
from tui.cli.asking import CHECK_WAIT_S, ask, read_secret, writing
from tui.cli.failing import Misused
from tui.cli.output import (
    Column,
    Form,
    cost,
    hour,
    instant,
    listing,
    money,
    pairs,
    plain,
    show,
    show_json,
)
from tui.cli.session import Session
from tui.cli.words import HOUR_TEXT
from tui.format import ago, clean

FILE: Final = click.Path(path_type=Path, dir_okay=False, allow_dash=True)
MARKS: Final = {"ok": "✓", "warn": "!", "fail": "✗", "not reached": "·"}
_SETTINGS: Final = (
    click.option("--context", help="The kubeconfig's context; else its current one."),
    click.option(
        "--other-cluster",
        is_flag=True,
        help="Affirm: another Kubernetes than any registered one with the same authority.",
    ),
    click.option("--opencost-namespace", help="Where OpenCost runs.  [opencost]"),
    click.option("--selector", help="The label selector of its pod; else the usual labels."),
    click.option("--container", help="Its container; else the one that exposes the port."),
    click.option("--service", help="Its service, for the transport proxy.  [opencost]"),
    click.option("--port", type=int, help="The port of its API.  [9003]"),
    click.option(
        "--transport",
        type=click.Choice(["exec", "proxy"]),
        help="exec in its pod, or proxy of the API server.  [exec]",
    ),
    click.option("--currency", help="What OpenCost's prices are in.  [USD]"),
    click.option("--seats", help="How many users it has room for; `none`: no limit.  [none]"),
    click.option(
        "--system-namespace",
        "system_namespaces",
        multiple=True,
        metavar="NAMESPACE",
        help="One that nobody pays for; give each, they replace the list.",
    ),
    click.option("--sentinel-namespace", help="One that always runs.  [kube-system]"),
    click.option("--cost-max", help="Most that its hour may plausibly cost.  [10000]"),
    click.option("--cores-max", type=int, help="Most cores it may have.  [100000]"),
    click.option("--gpus-max", type=int, help="Most GPUs.  [10000]"),
    click.option("--ram-max-gib", type=int, help="Most memory.  [1048576]"),
)


def _settings(function: Any) -> Any:
    for option in reversed(_SETTINGS):
        function = option(function)
    return function


@click.group()
def cluster() -> None:
    """Clusters whose hours are collected."""


@cluster.command(
    epilog="\b\nExample:\n  hopsmeter cluster add eu-1 --kubeconfig eu-1.yaml \\\n"
    "    --api-url https://eu-1.example.com --metering-since 2026-03-01T00Z"
)
@click.argument("name")
@click.option("--kubeconfig", type=FILE, required=True, help="A file, or - for stdin.")
@click.option("--api-url", required=True, help="Where Hopsworks answers.")
@click.option("--api-key-file", type=FILE, help="Hopsworks' API key: a file, or - for stdin.")
@click.option(
    "--metering-since",
    type=HOUR_TEXT,
    metavar="HOUR",
    help="First hour to collect; else the last one.",
)
@_settings
@writing()
@click.pass_obj
def add(
    session: Session,
    /,
    name: str,
    kubeconfig: Path,
    api_key_file: Path | None,
    dry_run: bool,
    why: str,
    **given: Any,
) -> None:
    """Register a cluster. Kubeconfig and key leave this terminal sealed to the daemon."""
    ask(
        session,
        "cluster.add",
        ClusterAdd(cluster=name, **_present(given)),
        dry_run=dry_run,
        why=why,
        sealed=_sealed(kubeconfig, api_key_file),
    )


@cluster.command(epilog="\b\nExample:\n  hopsmeter cluster edit eu-1 --seats 40 --dry-run")
@click.argument("name")
@click.option("--kubeconfig", type=FILE, help="A new one: a file, or - for stdin.")
@click.option("--api-url", help="Where Hopsworks answers; asks for the key anew.")
@click.option("--api-key-file", type=FILE, help="A new API key: a file, or - for stdin.")
@click.option("--opencost-cluster-id", help="OpenCost's own id; '' learns it from its next answer.")
@_settings
@writing()
@click.pass_obj
def edit(
    session: Session,
    /,
    name: str,
    kubeconfig: Path | None,
    api_key_file: Path | None,
    dry_run: bool,
    why: str,
    **given: Any,
) -> None:
    """Change what is given, and nothing else."""
    changes = _present(given)
    if given["seats"] == "none":
        changes["seats"] = None
    ask(
        session,
        "cluster.edit",
        ClusterEdit(cluster=name, **changes),
        dry_run=dry_run,
        why=why,
        sealed=_sealed(kubeconfig, api_key_file),
    )


@cluster.command("list", epilog="\b\nExample:\n  hopsmeter cluster list --json")
@listing
@click.pass_obj
def list_(session: Session, form: Form) -> None:
    """Clusters with their state, their hours and what today cost."""
    now = session.now()
    with session.connection(read_only=True) as connection:
        lines = clusters(connection, now)
    paused = Column(
        "paused because", lambda line: line.said if line.status == "paused" else "", below=True
    )
    columns = (
        Column("cluster", lambda line: line.name),
        Column("state", lambda line: line.health),
        Column("answered", lambda line: ago(line.last_answered_at, now)),
        Column("newest hour", lambda line: hour(line.newest_hour)),
        Column("kept", lambda line: str(line.hours.kept), "right"),
        Column("open", lambda line: str(line.hours.asked_for - line.hours.kept), "right"),
        Column("today", lambda line: cost(line.today_nano, line.currency), "right"),
        *([paused] if any(line.status == "paused" for line in lines) else []),
        Column("last outcome", lambda line: line.outcome, below=True),
    )
    show(form, lines, columns, empty="No cluster yet; `hopsmeter cluster add` registers one.")


@cluster.command("show", epilog="\b\nExample:\n  hopsmeter cluster show eu-1")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def show_(session: Session, name: str, as_json: bool) -> None:
    """Everything that is kept of a cluster, but its secrets."""
    now = session.now()
    with session.connection(read_only=True) as connection:
        found = find_cluster(connection, name)
        (line,) = clusters(connection, now, cluster=name)
    if as_json:
        show_json({**plain(found), "uid": str(found.uid), **plain(line)})
        return
    pairs([*_settings_pairs(found), *_state_pairs(found, line)])


@cluster.command(
    short_help="Walk the way to OpenCost, and judge its answer.",
    epilog="\b\nExample:\n  hopsmeter cluster check eu-1",
)
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def check(session: Session, name: str, as_json: bool) -> None:
    """Walk the way to OpenCost step by step, have it answer for the last closed hour, judge that,
    and look how far back it knows; nothing is stored. Exit code 1 if a step fails.
    """

    def tell(done: Outcome) -> None:
        found = done.result or {}
        if as_json:
            show_json(found)
            return
        seen = [step for step in found["steps"] if step["saw"]]
        unseen = [step["name"] for step in found["steps"] if not step["saw"]]
        width = max((len(step["name"]) for step in seen), default=0)
        for step in seen:
            click.echo(clean(f"{MARKS[step['outcome']]} {step['name']:<{width}}  {step['saw']}"))
            if step["cure"]:
                click.echo(clean(f"  {'':<{width}}  → {step['cure']}"))
        if unseen:
            click.echo(f"{MARKS['not reached']} not reached: {', '.join(unseen)}.")
        click.echo(clean(found["summary"]))

    done = ask(session, "cluster.check", ClusterNamed(cluster=name), wait_s=CHECK_WAIT_S, tell=tell)
    if not (done.result or {})["ok"]:
        raise SystemExit(1)


@cluster.command(
    short_help="Stop collecting for a while.",
    epilog="\b\nExample:\n  hopsmeter cluster pause eu-1 --reason 'upgrade'",
)
@click.argument("name")
@writing(reason=True)
@click.pass_obj
def pause(session: Session, name: str, dry_run: bool, why: str) -> None:
    """Stop collecting; the hours from the running one on are waived.

    Customers read it: their statements tell its reason.
    """
    ask(session, "cluster.pause", ClusterNamed(cluster=name), dry_run=dry_run, why=why)


@cluster.command(
    short_help="Collect again after a pause.",
    epilog="\b\nExample:\n  hopsmeter cluster resume eu-1",
)
@click.argument("name")
@writing()
@click.pass_obj
def resume(session: Session, name: str, dry_run: bool, why: str) -> None:
    """Collect again from the running hour on; what was waived stays waived."""
    ask(session, "cluster.resume", ClusterNamed(cluster=name), dry_run=dry_run, why=why)


@cluster.command(
    short_help="Take it out for good.",
    epilog="\b\nExample:\n  hopsmeter cluster remove eu-1 --reason 'sold' --dry-run",
)
@click.argument("name")
@writing(reason=True)
@click.pass_obj
def remove(session: Session, name: str, dry_run: bool, why: str) -> None:
    """Take it out for good: its secrets are erased, its hours and its name stay.

    Hours that were never collected are waived. Customers read it: their statements tell its reason.
    """
    ask(session, "cluster.remove", ClusterNamed(cluster=name), dry_run=dry_run, why=why)


def _present(given: dict[str, Any]) -> dict[str, Any]:
    """Keep the options that were given, as the arguments want them."""
    kept = {name: value for name, value in given.items() if value is not None and value != ()}
    if "system_namespaces" in kept:
        kept["system_namespaces"] = list(kept["system_namespaces"])
    seats = kept.pop("seats", UNSET)
    if seats is not UNSET and seats != "none":
        if not seats.isdecimal():
            sentence = f"{seats!r}: write a whole number, 0 or more, or `none`."
            raise click.BadParameter(sentence, param_hint="--seats")
        kept["seats"] = int(seats)
    return kept


def _sealed(kubeconfig: Path | None, api_key_file: Path | None) -> dict[str, Any]:
    if kubeconfig is not None and kubeconfig == api_key_file:
        raise Misused("Kubeconfig and API key cannot come from the same place.")
    read = {"kubeconfig": read_secret(kubeconfig), "api_key": read_secret(api_key_file)}
    return {name: secret for name, secret in read.items() if secret is not None}


def _settings_pairs(found: Cluster) -> list[tuple[str, str]]:
    way = f"{found.transport}, namespace {found.opencost_namespace}, port {found.opencost_port}"
    limits = (
        f"{money(found.cost_max_nano, found.currency)} an hour, {found.cores_max} cores,"
        f" {found.gpus_max} GPUs, {found.ram_max_bytes >> 30} GiB"
    )
    return [
        ("cluster", found.name),
        ("API URL", found.api_url),
        ("server", found.server_url),
        ("OpenCost", way),
        ("selector", found.opencost_selector),
        ("container", found.opencost_container),
        ("service", found.opencost_service if found.transport == "proxy" else ""),
        ("OpenCost id", found.opencost_cluster_id or ""),
        ("currency", found.currency),
        ("seats", "no limit" if found.max_users is None else str(found.max_users)),
        ("system", ", ".join(found.system_namespaces)),
        ("sentinel", found.sentinel_namespace),
        ("plausible", limits),
        ("expires", instant(found.credentials_expire_at)),
    ]


def _state_pairs(found: Cluster, line: ClusterLine) -> list[tuple[str, str]]:
    counts = {name: value for name, value in plain(line.hours).items() if value}
    return [
        ("status", f"{found.status} {found.status_why}".strip()),
        ("state", line.health),
        ("metered since", hour_text(found.metering_since)),
        ("last asked", instant(found.last_asked_at)),
        ("last answered", instant(found.last_answered_at)),
        ("last outcome", found.last_outcome),
        ("in trouble", line.said if line.faulted else ""),
        ("hours", ", ".join(f"{value} {name}" for name, value in counts.items())),
        ("today", money(line.today_nano, line.currency)),
    ]
