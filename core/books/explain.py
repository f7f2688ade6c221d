"""Back from a figure to where it came from: the hour, the owner, the plan, and the raw answer."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
import psycopg
import zstandard
from psycopg.rows import dict_row

from core.clock import hour_text
from core.db.queries import queries_beside
from core.errors import Unknown
from core.identity.principal import Principal
from core.opencost.answer import FLAG_WORDS, MONEY_COLUMNS, QUANTITY_COLUMNS
from core.rates.card import RESOURCES
from core.rates.charge import ChargeLine, charge_lines
from core.rates.terms import Terms, terms_of, terms_text

_SQL = queries_beside(__file__)
ANSWER_MAX_BYTES = 2**30
UNREADABLE = "(the kept answer cannot be read; see `hopsmeter books check`)"

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Revision:
    """A revision that was replaced: what it was, when and why it went."""

    revision: int
    total_nano: int
    user: str | None
    plan: str
    charges: str
    charge_nano: int | None
    """None where a part may have been free: how much it was then is not kept."""
    replaced_at: datetime
    why: str
    raw_sha256: str | None


@dataclass(frozen=True)
class Explanation:
    """One allocation and its chain of proof; money in nano-units of `currency`."""

    cluster: str
    namespace: str
    hour: datetime
    currency: str
    state: str
    """Of the hour: collected, settled, held …"""
    window_why: str
    kind: str
    user: str | None
    account: str | None
    project: str
    period: str
    """The ownership that gave it to the user, in words."""
    plan: str
    plan_since: datetime | None
    """When the plan's version began that priced it."""
    charges: str
    """What that version charges, in words; `terms` in figures."""
    terms: Terms | None
    charge_lines: tuple[ChargeLine, ...]
    """What adds up, exactly, to what is rounded to the charge."""
    charge_nano: int
    margin_nano: int | None
    """Charge less cost; None where nobody pays."""
    revision: int
    flags: tuple[str, ...]
    money: dict[str, int]
    quantities: dict[str, int]
    efficiency_ppm: int | None
    raw_sha256: str | None
    raw_asked_at: datetime | None
    raw_size_bytes: int | None
    raw_row: str | None
    """The namespace's own row of the raw answer, as OpenCost wrote it; None past retention."""
    history: tuple[Revision, ...]


def explain(
    connection: Connection, principal: Principal, cluster: str, namespace: str, hour: datetime
) -> Explanation:
    """Explain one allocation; Unknown says why there is none (a gap is never a zero)."""
    principal.require_admin("see the raw answers")
    at = {"cluster": cluster, "namespace": namespace, "hour": hour}
    cursor = connection.execute(_SQL["allocation"], at)
    row = cursor.fetchone()
    if row is None:
        raise Unknown(_why_none(connection, at))
    assert cursor.description is not None
    found = dict(zip((column.name for column in cursor.description), row, strict=True))
    raw_row = _raw_row(found, namespace)
    with connection.cursor(row_factory=dict_row) as named:
        history = named.execute(_SQL["history"], at).fetchall()
    sha256: bytes | None = found["raw_sha256"]
    terms = terms_of(found) if found["plan"] else None
    return Explanation(
        cluster=cluster,
        namespace=namespace,
        hour=hour,
        currency=found["currency"],
        state=found["state"],
        window_why=found["window_why"],
        kind=found["kind_name"],
        user=found["user_id"],
        account=found["account_id"],
        project=found["project"] or "",
        period=_period(found),
        plan=found["plan"] or "",
        plan_since=found["plan_since"],
        charges=_charges(found),
        terms=terms,
        charge_lines=charge_lines(found, terms, _free(found)) if terms else (),
        charge_nano=found["charge_nano"] or 0,
        margin_nano=found["charge_nano"] - found["total_nano"] if terms else None,
        revision=found["revision"],
        flags=tuple(word for bit, word in FLAG_WORDS.items() if found["flags"] & bit),
        money={name: found[name] for name in MONEY_COLUMNS},
        quantities={name: found[name] for name in QUANTITY_COLUMNS},
        efficiency_ppm=found["efficiency_ppm"] if found["efficiency_ppm"] >= 0 else None,
        raw_sha256=sha256.hex() if sha256 else None,
        raw_asked_at=found["asked_at"],
        raw_size_bytes=found["size_bytes"],
        raw_row=raw_row,
        history=tuple(_revision(each) for each in history),
    )


def _revision(found: dict[str, Any]) -> Revision:
    sha256: bytes | None = found["raw_sha256"]
    return Revision(
        revision=found["revision"],
        total_nano=found["total_nano"],
        user=found["user_id"],
        plan=found["plan"] or "",
        charges=_charges(found),
        charge_nano=found["charge_nano"] if found["plan"] else 0,
        replaced_at=found["replaced_at"],
        why=found["replaced_why"],
        raw_sha256=sha256.hex() if sha256 else None,
    )


def _free(found: dict[str, Any]) -> dict[str, int]:
    return {of.figure: found[f"free_{name}"] or 0 for name, of in RESOURCES.items()}


def _charges(found: dict[str, Any]) -> str:
    return terms_text(terms_of(found), found["plan_currency"]) if found["plan"] else ""


def _period(found: dict[str, Any]) -> str:
    if found["since"] is None:
        return ""
    until = f"until {hour_text(found['until'])}" if found["until"] else "on"
    by = f"{found['source']}, by {found['created_by']}"
    return f"from {hour_text(found['since'])} {until} ({by})"


def _raw_row(found: dict[str, Any], namespace: str) -> str | None:
    if found["body"] is None:
        return None
    try:
        body = zstandard.ZstdDecompressor().decompress(
            found["body"], max_output_size=ANSWER_MAX_BYTES
        )
        data = msgspec.json.decode(body, type=dict[str, msgspec.Raw])["data"]
        rows = msgspec.json.decode(data, type=list[dict[str, msgspec.Raw]])[0]
    except (zstandard.ZstdError, msgspec.DecodeError, KeyError, IndexError):
        return UNREADABLE
    for key, raw in rows.items():
        if key.rpartition("/")[2] == namespace:
            return bytes(raw).decode()
    return None


def _why_none(connection: Connection, at: dict[str, Any]) -> str:
    row = connection.execute(_SQL["why_none"], at).fetchone()
    hour = hour_text(at["hour"])
    if row is None and connection.execute(_SQL["cluster_known"], at).fetchone() is None:
        return f"There is no cluster {at['cluster']!r}; `hopsmeter cluster list` shows all."
    if row is None:
        return f"{at['cluster']} has no hour {hour}: it is not metered, or not closed yet."
    state, why, revision = row
    if revision == 0:
        said = f": {why}" if why else "."
        return f"{at['cluster']} {hour} is {state}, so nothing of it is in the books{said}"
    return (
        f"{at['namespace']} cost nothing on {at['cluster']} in {hour}: OpenCost does not list it."
    )
