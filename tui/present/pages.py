"""The screens below the first one: a cluster, a user, a namespace, one hour and its proof."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from core.reports.costs import NamespaceCost, NamespaceHour, OneHour
from tui import format as fmt
from tui.present.cells import (
    CURRENCY,
    EXACT_DECIMALS,
    amount,
    hour_state,
    kind,
    money_column,
    owner,
)
from tui.rows import Column, Row, Span

MICRO = 1_000_000
GIB = 2**30
BAR_WIDTH = 20

NO_NAMESPACES = "No cost in these seven days."
NO_NAMESPACE_HOURS = "No cost in these fourteen days."

_KINDS = (
    money_column("CPU", drop=4),
    money_column("GPU", drop=5),
    money_column("MEMORY", drop=6),
    money_column("VOLUMES", drop=7),
    money_column("NETWORK", drop=8),
    money_column("OTHER", drop=9),
)
NAMESPACE_COLUMNS = (
    Column("NAMESPACES, 7 DAYS", 18, grow=2, widest=44),
    Column("WHOSE", 16, grow=1, widest=34),
    money_column("TODAY", drop=3),
    money_column("7 DAYS"),
    CURRENCY,
    *_KINDS,
)
NAMESPACE_HOUR_COLUMNS = (
    Column("HOURS, 14 DAYS", 15),
    Column("WHOSE", 16, grow=1, widest=40),
    money_column("COST"),
    CURRENCY,
    *_KINDS,
    Column("REV", 3, "right", drop=10, tone="muted"),
)
COST_COLUMNS = (
    Column("KIND OF COST", 14, sorts=False),
    money_column("COST"),
    CURRENCY,
    Column("SHARE", BAR_WIDTH, drop=1, tone="accent", sorts=False),
    Column("USED", 20, "right", drop=2, tone="muted", sorts=False),
)
PROOF_COLUMNS = (
    Column("PROOF", 14, sorts=False, tone="muted"),
    Column("", 30, grow=1, widest=120, sorts=False),
)


# ── namespaces ──────────────────────────────────────────────────────────────────────────────


def namespace_rows(found: Sequence[NamespaceCost], *, with_cluster: bool) -> tuple[Row, ...]:
    """Return namespaces of one cluster, or of several, then with their cluster's name."""
    return tuple(
        Row(
            (each.cluster, each.namespace, each.user_id, each.kind),
            (
                _name(each, with_cluster=with_cluster),
                owner(each.kind, each.email),
                amount(each.day_nano),
                amount(each.total_nano, tone="strong"),
                each.currency,
                *_kind_cells(each),
            ),
            (
                (each.cluster, each.namespace),
                each.email or each.kind,
                each.day_nano,
                each.total_nano,
                each.currency,
                *_kind_values(each),
            ),
            each.namespace,
        )
        for each in found
    )


def _name(each: NamespaceCost, *, with_cluster: bool) -> tuple[Span, ...]:
    name = Span(each.namespace)
    return (Span(f"{each.cluster}/", "muted"), name) if with_cluster else (name,)


def _kind_values(each: NamespaceCost | NamespaceHour) -> tuple[int, ...]:
    return (
        each.cpu_nano,
        each.gpu_nano,
        each.ram_nano,
        each.pv_nano,
        each.network_nano,
        each.other_nano,
    )


def _kind_cells(each: NamespaceCost | NamespaceHour, decimals: int = 2) -> Iterable[Span]:
    return (amount(nano, decimals) for nano in _kind_values(each))


# ── a namespace ─────────────────────────────────────────────────────────────────────────────


def namespace_hour_rows(hours: Sequence[NamespaceHour]) -> tuple[Row, ...]:
    return tuple(
        Row(
            each.hour,
            (
                fmt.hour_name(each.hour),
                owner(each.kind, each.email),
                amount(each.total_nano, EXACT_DECIMALS, "strong"),
                each.currency,
                *_kind_cells(each, EXACT_DECIMALS),
                str(each.revision) if each.revision > 1 else "",
            ),
            (
                each.hour,
                each.email or each.kind,
                each.total_nano,
                each.currency,
                *_kind_values(each),
                each.revision,
            ),
            fmt.hour_name(each.hour),
        )
        for each in hours
    )


# ── one hour ────────────────────────────────────────────────────────────────────────────────


def cost_rows(one: OneHour) -> tuple[Row, ...]:
    """Return each kind of cost with its share and what was used, and their sum."""
    traffic = one.network_transfer_bytes + one.network_receive_bytes
    kinds = (
        ("CPU", one.cpu_nano, _used(one.cpu_core_hours_micro / MICRO, "core hours")),
        ("GPU", one.gpu_nano, _used(one.gpu_hours_micro / MICRO, "GPU hours")),
        ("Memory", one.ram_nano, _used(one.ram_byte_hours / GIB, "GiB hours")),
        ("Volumes", one.pv_nano, _used(one.pv_byte_hours / GIB, "GiB hours")),
        ("Network", one.network_nano, _used(traffic / GIB, "GiB")),
        ("Load balancers", one.load_balancer_nano, ""),
        ("Shared", one.shared_nano, ""),
        ("External", one.external_nano, ""),
        ("Adjustment", one.adjustment_nano, ""),
        ("Rounding", one.rounding_nano, ""),
    )
    rows = [
        Row(
            name,
            (
                name,
                amount(nano, EXACT_DECIMALS),
                one.currency,
                _bar(nano, one.total_nano),
                used,
            ),
        )
        for name, nano, used in kinds
    ]
    total = (Span("Total", "strong"), amount(one.total_nano, EXACT_DECIMALS, "strong"))
    rows.append(
        Row("Total", (*total, one.currency, "", _used(one.minutes_micro / MICRO, "minutes")))
    )
    return tuple(rows)


def _used(quantity: float, unit: str) -> str:
    return f"{quantity:,.3f} {unit}".replace(",", "\N{NARROW NO-BREAK SPACE}") if quantity else ""


def _bar(nano: int, total: int) -> str:
    """Draw a share of the total; what is not above zero has none."""
    if nano <= 0 or total <= 0:
        return ""
    return "█" * max(1, min(BAR_WIDTH, round(nano * BAR_WIDTH / total)))


def proof_rows(one: OneHour) -> tuple[Row, ...]:
    """Return whose the hour is and where its figures come from, down to the answer's hash."""
    charge = fmt.money(one.charge_nano, EXACT_DECIMALS) if one.charge_nano is not None else ""
    answer = f"{fmt.money(one.hour_nano, EXACT_DECIMALS)} {one.currency}"
    efficiency = f"{one.efficiency_ppm / 10_000:.1f} % of what was requested"
    facts: tuple[tuple[str, str | tuple[Span, ...]], ...] = (
        ("Kind", kind(one.kind)),
        ("User", _person(one.user_email, one.user_id)),
        ("Account", _person(one.account_email, one.account_id)),
        (
            "Charge",
            f"{charge} {one.currency}, plan {one.plan}, {one.charges}" if charge else "",
        ),
        ("Efficiency", efficiency if one.efficiency_ppm >= 0 else ""),
        ("Revision", str(one.revision)),
        ("Hour", hour_state(one.state)),
        ("Collected", _instant(one.collected_at)),
        ("Settled", _instant(one.settled_at)),
        ("Accepted by", one.decided_by if one.accepted else ""),
        ("Remarks", one.hour_flags),
        ("Answer", f"{fmt.count(one.hour_namespaces)} namespaces, {answer}"),
        ("SHA-256", one.sha256),
    )
    return tuple(Row(name, (name, value)) for name, value in facts if value)


def _person(email: str | None, user_id: str | None) -> str:
    return f"{email} ({user_id})" if email else ""


def _instant(at: datetime | None) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%S UTC") if at else ""
