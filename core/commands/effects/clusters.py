"""Clusters: registered, changed, paused, checked, removed."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from msgspec import UNSET

from core.clock import HOUR, hour_text, last_closed_hour, parse_hour
from core.clusters.cluster import SYSTEM_NAMESPACES, Cluster, ClusterSettings, find_cluster
from core.clusters.connection.access import CheckStep
from core.clusters.opening import access_of
from core.clusters.registry import (
    ClusterChange,
    Vault,
    add_cluster,
    edit_cluster,
    pause_cluster,
    remove_cluster,
    resume_cluster,
)
from core.commands.arguments import ClusterAdd, ClusterEdit, ClusterNamed
from core.commands.kinds import Result, Task
from core.errors import InputFault
from core.metering.checkup import patient
from core.metering.ownership import reattribute_cluster
from core.metering.windows import give_up_hours, open_span
from core.money import nano_from_decimal, text_from_nano
from core.reports.costs import Unmapped, unmapped

GIB: Final = 1 << 30


@dataclass(frozen=True)
class _Field:
    """How an argument becomes a setting: its column, and the reading of its value."""

    column: str
    read: Callable[[Any], Any] = lambda value: value


def _nano(text: str) -> int:
    try:
        return nano_from_decimal(Decimal(text))
    except (InvalidOperation, ValueError, OverflowError):
        raise InputFault(f"{text!r} is no amount of money; write it like 250.00.") from None


_FIELDS: Final = {
    "api_url": _Field("api_url"),
    "opencost_namespace": _Field("opencost_namespace"),
    "selector": _Field("opencost_selector"),
    "container": _Field("opencost_container"),
    "service": _Field("opencost_service"),
    "port": _Field("opencost_port"),
    "transport": _Field("transport"),
    "currency": _Field("currency"),
    "seats": _Field("max_users"),
    "system_namespaces": _Field(
        "system_namespaces", lambda names: tuple(sorted(set(names or SYSTEM_NAMESPACES)))
    ),
    "sentinel_namespace": _Field("sentinel_namespace"),
    "opencost_cluster_id": _Field("opencost_cluster_id", lambda text: text or None),
    "cost_max": _Field("cost_max_nano", _nano),
    "cores_max": _Field("cores_max"),
    "gpus_max": _Field("gpus_max"),
    "ram_max_gib": _Field("ram_max_bytes", lambda gib: gib * GIB),
}
_NAMES: Final = {"max_users": "seats"}
"""Columns that people know by another name: that of the option, and of `cluster show`."""


def add(task: Task[ClusterAdd]) -> Result:
    given = task.arguments
    if "kubeconfig" not in task.secrets:
        raise InputFault("A cluster needs a kubeconfig (--kubeconfig FILE). Nothing was changed.")
    since = parse_hour(given.metering_since) if given.metering_since else None
    change = add_cluster(
        task.connection,
        task.principal,
        given.cluster,
        ClusterSettings(**_settings(given)),
        kubeconfig=task.secrets["kubeconfig"],
        api_key=task.secrets.get("api_key"),
        context=given.context,
        other_cluster=given.other_cluster,
        metering_since=since,
        vault=_vault(task),
        why=task.why,
        now=task.now,
    )
    began = change.cluster.metering_since
    return _result(
        change,
        f"Cluster {given.cluster} added ({change.cluster.server_url}); it is metered from"
        f" {hour_text(began)} on.{_expiry(change.cluster, task.now)}",
    )


def edit(task: Task[ClusterEdit]) -> Result:
    """Change a cluster; other system namespaces are other owners, so its stored hours follow."""
    given = task.arguments
    change = edit_cluster(
        task.connection,
        task.principal,
        given.cluster,
        _settings(given),
        kubeconfig=task.secrets.get("kubeconfig"),
        api_key=task.secrets.get("api_key"),
        context=given.context,
        other_cluster=given.other_cluster,
        vault=_vault(task),
        why=task.why,
        now=task.now,
    )
    difference = _difference(change)
    names = ", ".join(name.removesuffix("_nano") for name in difference)
    said = f"Cluster {given.cluster} changed: {names}."
    details: dict[str, Any] = {}
    if "system_namespaces" in change.difference:
        hours, cost_nano = reattribute_cluster(
            task.connection, task.principal, change.cluster.id, why="system namespaces changed"
        )
        currency = change.cluster.currency
        details = {"rows_revised": hours, "cost_nano": cost_nano, "currency": currency}
        said += f" {hours} stored rows are attributed anew: {text_from_nano(cost_nano)} {currency}."
    if "kubeconfig" in change.difference:
        said += _expiry(change.cluster, task.now)
    return Result(said, difference, details)


def pause(task: Task[ClusterNamed]) -> Result:
    """Pause; the hours that ended before stay due, those from the running one on are waived."""
    _open_until_now(task, waived=None)
    name = task.arguments.cluster
    change = pause_cluster(task.connection, task.principal, name, why=task.why, now=task.now)
    since = change.difference["paused_since"][1]
    return _result(change, f"Cluster {name} is paused: its hours from {since} on are waived.")


def resume(task: Task[ClusterNamed]) -> Result:
    name = task.arguments.cluster
    paused = find_cluster(task.connection, name, lock=True)
    if paused.status == "paused":
        _open_until_now(task, waived=paused.status_why)
    change = resume_cluster(task.connection, task.principal, name, why=task.why)
    since = hour_text(last_closed_hour(task.now) + HOUR)
    return _result(change, f"Cluster {name} is metered again, from {since} on.")


def remove(task: Task[ClusterNamed]) -> Result:
    """Remove; nothing is asked for any more, and what is stored stays."""
    name = task.arguments.cluster
    change = remove_cluster(task.connection, task.principal, name, why=task.why)
    waived = give_up_hours(task.connection, change.cluster.id, task.why, task.now)
    said = f"Cluster {name} removed: its secrets are erased, its stored hours stay."
    if waived:
        said += f" Hours that were never collected are waived: {waived}."
    nobodys = unmapped(task.connection, cluster=name)
    money = {
        "unmapped_nano": sum(each.total_nano for each in nobodys),
        "currency": change.cluster.currency,
    }
    return Result(
        f"{said}{_nobodys(name, nobodys)}", change.difference, {"hours_waived": waived, **money}
    )


def _nobodys(name: str, found: tuple[Unmapped, ...]) -> str:
    """Say what stays in the books unmapped, and that it is not lost to whoever should pay it."""
    if not found:
        return ""
    count = "1 namespace" if len(found) == 1 else f"{len(found)} namespaces"
    total_nano = sum(each.total_nano for each in found)
    return (
        f" {text_from_nano(total_nano)} {found[0].currency} of {count} stays unmapped:"
        " `hopsmeter namespace unmapped` goes on listing it, and"
        f" `hopsmeter namespace map {name} NAMESPACE USER` charges it later."
    )


def visit(task: Task[ClusterNamed]) -> list[CheckStep]:
    """Walk the way to OpenCost and have it answer, outside of any transaction."""
    name = task.arguments.cluster
    access = access_of(task.connection, task.works.keyring, name)
    return task.works.check_cluster(access, patient(task.connection, name, task.now))


def check(task: Task[ClusterNamed]) -> Result:
    name = task.arguments.cluster
    steps: list[CheckStep] = task.gathered
    failed = [step.name for step in steps if step.outcome == "fail"]
    warned = sum(step.outcome == "warn" for step in steps)
    word = f"fails at {failed[0]}" if failed else "can be read"
    remark = f" ({_remarks(warned)})" if warned and not failed else ""
    plain = [
        {"name": step.name, "outcome": step.outcome, "saw": step.saw, "cure": step.cure}
        for step in steps
    ]
    return Result(f"Cluster {name} {word}{remark}.", details={"ok": not failed, "steps": plain})


def _remarks(count: int) -> str:
    return "1 remark" if count == 1 else f"{count} remarks"


def _settings(given: ClusterAdd | ClusterEdit) -> dict[str, Any]:
    """Return the settings that were given; what was not is left to its default, or as it is."""
    absent = UNSET if isinstance(given, ClusterEdit) else None
    values = {name: getattr(given, name, absent) for name in _FIELDS}
    return {
        _FIELDS[name].column: _FIELDS[name].read(value)
        for name, value in values.items()
        if value is not absent
    }


def _vault(task: Task[Any]) -> Vault:
    return Vault(task.works.keyring, task.works.allow_loopback)


def _expiry(cluster: Cluster, now: datetime) -> str:
    at = cluster.credentials_expire_at
    if at is None:
        return ""
    return f" Its credentials expire in {(at - now).days} days."


def _open_until_now(task: Task[ClusterNamed], waived: str | None) -> None:
    """Give all hours that ended their rows, before what holds for them changes."""
    cluster = find_cluster(task.connection, task.arguments.cluster, lock=True)
    row = task.connection.execute(
        "SELECT coalesce((SELECT max(hour) + interval '1 hour' FROM hopsmeter.collection_windows"
        "                 WHERE cluster_id = %s), %s)",
        [cluster.id, cluster.metering_since],
    ).fetchone()
    assert row is not None
    last = last_closed_hour(task.now)
    if row[0] <= last:
        open_span(task.connection, cluster.id, row[0], last, waived=waived)


def _result(change: ClusterChange, summary: str) -> Result:
    return Result(summary, _difference(change))


def _difference(change: ClusterChange) -> dict[str, list[Any]]:
    return {_NAMES.get(what, what): pair for what, pair in change.difference.items()}
