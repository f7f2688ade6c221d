"""Which clusters there are: add, change, pause, resume, remove, and the way in for the collector.

Secrets come as `Secret`, leave for the database sealed to their row, and are opened only by
`opening.access_of`, for one visit.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, Literal
from uuid import UUID, uuid4

import psycopg
from sqlmodel import col, update

from core.audit import trail
from core.clock import floor_hour, hour_text, last_closed_hour
from core.clusters.cluster import (
    SETTING_COLUMNS,
    Cluster,
    ClusterSettings,
    find_cluster,
)
from core.clusters.kubeconfig import Kubeconfig, read_kubeconfig
from core.clusters.opening import TABLE
from core.clusters.sameness import Place, require_only_one, require_unmetered
from core.clusters.tables import HopsworksCluster
from core.clusters.vault.keyring import Keyring
from core.clusters.vault.records import seal
from core.db.locks import Lock, take
from core.db.ride import session_on
from core.errors import Conflict, InputFault
from core.identity.principal import Principal
from core.secret import Secret

METERING_BACK_MAX = timedelta(days=400)
API_KEY_CHARS_MAX = 4096
_SOURCE: Final = (
    "api_url",
    "opencost_namespace",
    "opencost_selector",
    "opencost_container",
    "opencost_service",
    "opencost_port",
    "transport",
)
_ASKED_AT_ONCE: Final = {"failures": 0, "next_visit_at": None}
"""Whoever mended the way to a cluster that failed looks what comes of it now, not in half an hour."""
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_WORDS = frozenset({"accept", "gap", "keep", "map"})
"""What may follow `hopsmeter hours` in the place of a cluster's name."""
_API_KEY = re.compile(rf"[\x21-\x7e]{{1,{API_KEY_CHARS_MAX}}}".encode())

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class ClusterChange:
    """What a change did: `difference` is {what: [before, after]} in plain JSON, no secrets."""

    cluster: Cluster
    difference: dict[str, list[Any]]


@dataclass(frozen=True)
class Vault:
    """What sealing needs, and how strictly kubeconfigs are read."""

    keyring: Keyring
    allow_loopback: bool = False


def add_cluster(
    connection: Connection,
    principal: Principal,
    name: str,
    settings: ClusterSettings,
    *,
    kubeconfig: Secret,
    api_key: Secret | None = None,
    context: str | None = None,
    metering_since: datetime | None = None,
    other_cluster: bool = False,
    vault: Vault,
    why: str,
    now: datetime,
) -> ClusterChange:
    """Register a cluster; metering begins with the last closed hour where no other is named.

    With `other_cluster` the asker affirms that it is none of those that share its authority.
    """
    principal.require_admin("add clusters")
    settings = replace(settings, api_url=settings.api_url.rstrip("/"))
    _require_usable(settings, vault)
    _require_free_name(connection, name)
    since = _since(metering_since, now)
    config = _read(kubeconfig, context, now, vault)
    place = Place(config.server, config.ca_pem)
    affirmed = require_only_one(connection, place, None, affirmed=other_cluster)
    affirmed |= require_unmetered(connection, place, since, None, affirmed=other_cluster)
    uid = uuid4()
    values = {
        **_columns(settings),
        **_kubeconfig_columns(config, uid, vault),
        "uid": uid,
        "name": name,
        "metering_since": since,
        "api_key_sealed": _seal_api_key(api_key, uid, settings.api_url, vault),
    }
    with session_on(connection) as session:
        session.add(HopsworksCluster(**values))
    difference: dict[str, list[Any]] = {
        "server_url": [None, config.server],
        "metering_since": [None, hour_text(since)],
        "credentials_expire_at": [None, _moment(config.expires_at)],
        **{what: [None, value] for what, value in _shown(settings).items()},
        **_affirmed(affirmed),
    }
    return _told(connection, principal, "cluster.add", name, difference, why)


def edit_cluster(
    connection: Connection,
    principal: Principal,
    name: str,
    changes: Mapping[str, Any],
    *,
    kubeconfig: Secret | None = None,
    api_key: Secret | None = None,
    context: str | None = None,
    other_cluster: bool = False,
    vault: Vault,
    why: str,
    now: datetime,
) -> ClusterChange:
    """Change settings (names of ClusterSettings), the kubeconfig or the API key.

    A changed API URL demands the key anew: a key is sealed for the URL it may be sent to, so that
    nobody who may edit can have it sent elsewhere.
    """
    principal.require_admin("edit clusters")
    before = find_cluster(connection, name, lock=True)
    settings = replace(before.settings, **changes)
    settings = replace(settings, api_url=settings.api_url.rstrip("/"))
    _require_usable(settings, vault)
    _require_currency_free(connection, before, settings)
    config = _read(kubeconfig, context, now, vault) if kubeconfig else None
    affirmed = _require_other(connection, before, settings, config, affirmed=other_cluster)
    values = _columns(settings)
    difference = _changed(before.settings, settings)
    if config:
        values |= _kubeconfig_columns(config, before.uid, vault)
        difference["kubeconfig"] = ["sealed", "sealed anew"]
        difference["server_url"] = [before.server_url, config.server]
        expiry = [_moment(before.credentials_expire_at), _moment(config.expires_at)]
        difference["credentials_expire_at"] = expiry
    if api_key:
        values["api_key_sealed"] = _seal_api_key(api_key, before.uid, settings.api_url, vault)
        difference["api_key"] = ["as it was", "sealed anew"]
    elif settings.api_url != before.api_url and _has_api_key(connection, before.id):
        raise InputFault(
            "A changed API URL needs the API key anew (--api-key-file), since the key is sealed"
            " for the URL it may be sent to. Nothing was changed."
        )
    difference = {what: pair for what, pair in difference.items() if pair[0] != pair[1]}
    if not difference:
        raise InputFault(f"Nothing would change: the cluster {name} is like that already.")
    _update(connection, before.id, values | _ASKED_AT_ONCE)
    difference |= _affirmed(affirmed)
    return _told(connection, principal, "cluster.edit", name, difference, why)


def pause_cluster(
    connection: Connection, principal: Principal, name: str, *, why: str, now: datetime
) -> ClusterChange:
    """Stop metering with the hour that runs; its hours from then on are waived, with `why`."""
    principal.require_admin("pause clusters")
    before = find_cluster(connection, name, lock=True)
    if before.status == "paused":
        raise Conflict(f"The cluster {name} is paused already. Nothing was changed.")
    since = floor_hour(now)
    values = {"status": "paused", "status_why": why, "paused_since": since}
    _update(connection, before.id, values)
    difference: dict[str, list[Any]] = {
        "status": ["active", "paused"],
        "paused_since": [None, hour_text(since)],
    }
    return _told(connection, principal, "cluster.pause", name, difference, why)


def resume_cluster(
    connection: Connection, principal: Principal, name: str, *, why: str
) -> ClusterChange:
    """Meter again from the hour that runs on; what was waived meanwhile stays waived."""
    principal.require_admin("resume clusters")
    before = find_cluster(connection, name, lock=True)
    if before.status != "paused" or before.paused_since is None:
        raise Conflict(f"The cluster {name} is not paused. Nothing was changed.")
    values = {"status": "active", "status_why": "", "paused_since": None}
    _update(connection, before.id, values | _ASKED_AT_ONCE)
    paused_since = hour_text(before.paused_since)
    difference: dict[str, list[Any]] = {
        "status": ["paused", "active"],
        "paused_since": [paused_since, None],
    }
    return _told(connection, principal, "cluster.resume", name, difference, why)


def remove_cluster(
    connection: Connection, principal: Principal, name: str, *, why: str
) -> ClusterChange:
    """Take a cluster out of metering for good and erase its secrets; facts and name stay.

    Its authority stays too: it tells who would register the same Kubernetes again.
    """
    principal.require_admin("remove clusters")
    before = find_cluster(connection, name, lock=True)
    values = {
        "status": "removed",
        "status_why": why,
        "kubeconfig_sealed": b"",
        "api_key_sealed": None,
    }
    _update(connection, before.id, values)
    difference = {"status": [before.status, "removed"], "kubeconfig": ["sealed", "erased"]}
    trail_pair = _halves(difference)
    trail.record(connection, principal, "cluster.remove", name, **trail_pair, why=why)
    return ClusterChange(replace(before, status="removed", status_why=why), difference)


def _require_usable(settings: ClusterSettings, vault: Vault) -> None:
    faults = list(settings.faults(allow_loopback=vault.allow_loopback))
    if faults:
        raise InputFault(f"{' '.join(faults)} Nothing was changed.")


def _require_free_name(connection: Connection, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise InputFault(
            f"{name[:80]!r} is no name for a cluster: use a to z, 0 to 9 and dashes, at most 63."
        )
    if name in _WORDS:
        raise InputFault(
            f"No cluster can be called {name}: `hopsmeter hours {name}` is a command. Choose another"
            " name."
        )
    row = connection.execute(
        "SELECT status FROM hopsmeter.hopsworks_clusters WHERE name = %s", [name]
    ).fetchone()
    if row and row[0] == "removed":
        raise Conflict(
            f"A removed cluster was called {name}, and its hours keep the name; choose another."
        )
    if row:
        raise Conflict(f"There is a cluster {name} already; `hopsmeter cluster edit` changes it.")


def _since(wished: datetime | None, now: datetime) -> datetime:
    last = last_closed_hour(now)
    since = wished or last
    if since > floor_hour(now):
        raise InputFault(f"{hour_text(since)} has not begun; metering begins now or earlier.")
    if since < now - METERING_BACK_MAX:
        raise InputFault(
            f"{hour_text(since)} is more than {METERING_BACK_MAX.days} days ago: no OpenCost has"
            " it any more."
        )
    return since


def _require_other(
    connection: Connection,
    before: Cluster,
    settings: ClusterSettings,
    config: Kubeconfig | None,
    *,
    affirmed: bool,
) -> set[str]:
    """Judge an edit of where the costs come from; others leave a Kubernetes what it is."""
    if config:
        place = Place(config.server, config.ca_pem)
    elif any(getattr(settings, name) != getattr(before, name) for name in _SOURCE):
        place = Place(before.server_url, _ca_pem(connection, before.id))
    else:
        return set()
    overruled = require_only_one(connection, place, before.id, affirmed=affirmed)
    if config:
        since = before.metering_since
        overruled |= require_unmetered(connection, place, since, before.id, affirmed=affirmed)
    return overruled


def _affirmed(names: set[str]) -> dict[str, list[Any]]:
    return {"other_cluster": [None, sorted(names)]} if names else {}


def _ca_pem(connection: Connection, cluster_id: int) -> str:
    row = connection.execute(
        "SELECT ca_pem FROM hopsmeter.hopsworks_clusters WHERE id = %s", [cluster_id]
    ).fetchone()
    assert row is not None
    return str(row[0])


def _require_currency_free(
    connection: Connection, before: Cluster, settings: ClusterSettings
) -> None:
    if settings.currency == before.currency:
        return
    # No hour is stored in the one, and no namespace given to an account of it, while we look.
    take(connection, Lock.ATTRIBUTION)
    row = connection.execute(
        "SELECT EXISTS (SELECT FROM hopsmeter.collection_windows"
        " WHERE cluster_id = %s AND revision > 0)",
        [before.id],
    ).fetchone()
    if row and row[0]:
        raise Conflict(
            f"The hours of {before.name} are stored in {before.currency} already, and a changed"
            " currency would change what they say. Nothing was changed."
        )
    row = connection.execute(
        "SELECT u.id, u.currency FROM hopsmeter.user_projects p"
        " JOIN hopsmeter.users u ON u.no = p.user_no"
        " WHERE p.cluster_id = %s AND u.currency <> %s LIMIT 1",
        [before.id, settings.currency],
    ).fetchone()
    if row:
        raise Conflict(
            f"{row[0]} owns namespaces of {before.name}, and is in {row[1]}: an account has one"
            " currency. Take them away first (`hopsmeter namespace unmap`). Nothing was changed."
        )


def _read(kubeconfig: Secret, context: str | None, now: datetime, vault: Vault) -> Kubeconfig:
    return read_kubeconfig(
        kubeconfig, now=now, context=context, allow_loopback=vault.allow_loopback
    )


def _kubeconfig_columns(config: Kubeconfig, uid: UUID, vault: Vault) -> dict[str, Any]:
    return {
        "kubeconfig_sealed": seal(
            vault.keyring,
            config.minimal_document(),
            table=TABLE,
            column="kubeconfig_sealed",
            row=str(uid),
        ),
        "server_url": config.server,
        "ca_pem": config.ca_pem,
        "credentials_expire_at": config.expires_at,
    }


def _seal_api_key(api_key: Secret | None, uid: UUID, api_url: str, vault: Vault) -> bytes | None:
    """Seal the key for its URL; what a paste leaves around it (a newline) is cut off."""
    if api_key is None:
        return None
    api_key = Secret(api_key.reveal().strip())
    if not _API_KEY.fullmatch(api_key.reveal()):
        raise InputFault(
            "The API key is empty, has blanks inside, or is no plain text; paste it alone."
            " Nothing was changed."
        )
    return seal(
        vault.keyring,
        api_key,
        table=TABLE,
        column="api_key_sealed",
        row=str(uid),
        bound_to=(api_url,),
    )


def _has_api_key(connection: Connection, cluster_id: int) -> bool:
    row = connection.execute(
        "SELECT api_key_sealed IS NOT NULL FROM hopsmeter.hopsworks_clusters WHERE id = %s",
        [cluster_id],
    ).fetchone()
    return bool(row and row[0])


def _columns(settings: ClusterSettings) -> dict[str, Any]:
    values = {name: getattr(settings, name) for name in SETTING_COLUMNS}
    return {**values, "system_namespaces": list(settings.system_namespaces)}


def _shown(settings: ClusterSettings) -> dict[str, Any]:
    return {**asdict(settings), "system_namespaces": sorted(settings.system_namespaces)}


def _changed(before: ClusterSettings, after: ClusterSettings) -> dict[str, list[Any]]:
    now_shown = _shown(after)
    return {what: [value, now_shown[what]] for what, value in _shown(before).items()}


def _update(connection: Connection, cluster_id: int, values: Mapping[str, Any]) -> None:
    with session_on(connection) as session:
        session.exec(
            update(HopsworksCluster).where(col(HopsworksCluster.id) == cluster_id).values(**values)
        )


def _told(
    connection: Connection,
    principal: Principal,
    action: Literal["cluster.add", "cluster.edit", "cluster.pause", "cluster.resume"],
    name: str,
    difference: dict[str, list[Any]],
    why: str,
) -> ClusterChange:
    trail.record(connection, principal, action, name, **_halves(difference), why=why)
    return ClusterChange(find_cluster(connection, name), difference)


def _halves(difference: Mapping[str, list[Any]]) -> dict[str, dict[str, Any]]:
    return {
        "before": {what: pair[0] for what, pair in difference.items()},
        "after": {what: pair[1] for what, pair in difference.items()},
    }


def _moment(at: datetime | None) -> str | None:
    return at.isoformat() if at else None
