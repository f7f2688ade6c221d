"""One Kubernetes has one cost: who would register it a second time is refused here.

Neither OpenCost's namespace nor its selector nor its port tells two costs apart: each OpenCost of
a Kubernetes answers for all of it.
"""

import re
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from urllib.parse import urlsplit

import psycopg

from core.clock import HOUR, hour_text
from core.db.locks import Lock, take
from core.errors import Conflict

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
_AFFIRM = "If it is another Kubernetes, of an authority that they share, affirm that with --other-cluster."

Connection = psycopg.Connection[Any]
Sign = Literal["server", "authority"]


@dataclass(frozen=True)
class Place:
    """Where a kubeconfig leads, and the authority that signs there."""

    server: str
    ca_pem: str


@dataclass(frozen=True)
class _Registered:
    id: int
    name: str
    removed: bool
    place: Place


def require_only_one(
    connection: Connection, place: Place, own_id: int | None, *, affirmed: bool
) -> set[str]:
    """Refuse a Kubernetes that is registered; return whose authority is affirmed to be shared."""
    # One registration at a time: two at once would each not see the other.
    take(connection, Lock.REGISTRY)
    overruled = set()
    for other, sign in _same(connection, place, own_id, removed=False):
        if sign == "server":
            raise Conflict(
                f"The cluster {other.name} is on the same server ({other.place.server}), and one"
                " Kubernetes has one cost, wherever in it OpenCost is: it would be counted twice."
                f" Change that one (`hopsmeter cluster edit {other.name}`). Nothing was changed."
            )
        if not affirmed:
            raise Conflict(
                f"The cluster {other.name} ({other.place.server}) has the same certificate"
                f" authority as {place.server}: it is the same Kubernetes by another address, and"
                f" every cost would be counted twice. {_AFFIRM} Nothing was changed."
            )
        overruled.add(other.name)
    return overruled


def require_unmetered(
    connection: Connection, place: Place, since: datetime, own_id: int | None, *, affirmed: bool
) -> set[str]:
    """Refuse hours that a removed registration of the same Kubernetes has in the books.

    Hours that `own_id` has itself are not looked at: they are there once more already.
    """
    overruled = set()
    for other, sign in _same(connection, place, own_id, removed=True):
        last = _last_stored(connection, other.id, since, own_id)
        if last is None:
            continue
        if sign == "server" or not affirmed:
            raise Conflict(
                f"The hours of this Kubernetes until {hour_text(last)} are in the books of the"
                f" removed cluster {other.name}, and from {hour_text(since)} on they would be"
                f" counted twice. {_way_on(own_id, last)}"
                f"{'' if sign == 'server' else f' {_AFFIRM}'} Nothing was changed."
            )
        overruled.add(other.name)
    return overruled


def _way_on(own_id: int | None, last: datetime) -> str:
    first = f"--metering-since {hour_text(last + HOUR)}"
    if own_id is None:
        return f"Meter it from the first hour after them: {first} (or later)."
    return f"Register it as a cluster of its own instead: `hopsmeter cluster add … {first}`."


def _same(
    connection: Connection, place: Place, own_id: int | None, *, removed: bool
) -> Iterator[tuple[_Registered, Sign]]:
    """Yield who leads to the same Kubernetes, those on the same server first."""
    others = [
        each for each in _registered(connection) if each.id != own_id and each.removed is removed
    ]
    same_server = [each for each in others if _endpoint(place) == _endpoint(each.place)]
    yield from ((each, "server") for each in same_server)
    for each in others:
        if each not in same_server and _same_authority(place, each.place):
            yield each, "authority"


def _registered(connection: Connection) -> list[_Registered]:
    rows = connection.execute(
        "SELECT id, name, status = 'removed', server_url, ca_pem"
        " FROM hopsmeter.hopsworks_clusters ORDER BY name"
    ).fetchall()
    return [
        _Registered(number, name, removed, Place(server, ca_pem))
        for number, name, removed, server, ca_pem in rows
    ]


def _last_stored(
    connection: Connection, cluster_id: int, since: datetime, own_id: int | None
) -> datetime | None:
    row = connection.execute(
        "SELECT max(w.hour) FROM hopsmeter.collection_windows w"
        " WHERE w.cluster_id = %s AND w.revision > 0 AND w.hour >= %s AND NOT EXISTS ("
        "   SELECT FROM hopsmeter.collection_windows o"
        "   WHERE o.cluster_id = %s AND o.hour = w.hour AND o.revision > 0)",
        [cluster_id, since, own_id],
    ).fetchone()
    last: datetime | None = row[0] if row else None
    return last


def _same_authority(one: Place, other: Place) -> bool:
    """Say whether two addresses lead to one Kubernetes: each signs with an authority of its own.

    One that they share is enough: while it is exchanged, a kubeconfig has the old and the new one.
    Not so behind one door that tells clusters apart by their path.
    """
    (*door, path), (*other_door, other_path) = _endpoint(one), _endpoint(other)
    if door == other_door and path != other_path:
        return False
    return not _certificates(one.ca_pem).isdisjoint(_certificates(other.ca_pem))


def _certificates(pem: str) -> frozenset[bytes]:
    """Return each as DER: blanks and remarks around the PEM say nothing."""
    return frozenset(map(ssl.PEM_cert_to_DER_cert, _PEM.findall(pem)))


def _endpoint(place: Place) -> tuple[str | None, int, str]:
    url = urlsplit(place.server)
    return url.hostname, url.port or 443, url.path.rstrip("/")
