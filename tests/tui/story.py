"""A small world at one frozen moment, the same on every run: what the pictures show."""

import random
from datetime import datetime, timedelta

from core.clock import DAY, HOUR, floor_hour
from tests.factories import (
    NOW,
    SINCE,
    Cluster,
    Connection,
    User,
    add_allocation,
    add_cluster,
    add_daemon,
    add_user,
    add_window,
)

NEWEST = floor_hour(NOW) - HOUR
SEED = 20260303
PEOPLE = (
    ("anna.lindqvist@example.org", ("fraud-detection", "feature-lab")),
    ("bo.eriksson@example.org", ("churn", "llm-finetune")),
    ("chitra.rao@example.org", ("demand-forecast",)),
    ("dmitri.k@example.org", ("vision-train", "vision-serve")),
    ("eva.moreau@example.org", ("recsys",)),
    ("farid.n@example.org", ("geo-etl", "geo-serve")),
    ("grace.o@example.org", ("nlp-search",)),
)
IN_EUROS = 4
"""From this person on: an account pays in one currency, and so uses the clusters of one."""
HOSTILE = ("[/]", "[red]ns", "東京" * 12, "e\u0301" * 30, "x" * 253, "a\nb\x1b[31mc", "\u202egnp")


def tell(connection: Connection) -> None:
    """Three clusters: one in order, one that is caught up with, one in trouble."""
    dice = random.Random(SEED)
    people = {
        email: add_user(connection, email, currency="USD" if number < IN_EUROS else "EUR")
        for number, (email, _) in enumerate(PEOPLE)
    }
    add_daemon(connection)
    eu = add_cluster(connection, "eu-north-1", last_outcome="1 hour collected, 31 namespaces")
    _fill(connection, dice, eu, people, list(PEOPLE[:IN_EUROS]), {})
    ap = add_cluster(connection, "ap-south-1", last_outcome="2 hours collected, 14 hours to go")
    away = {NEWEST - number * HOUR: "due" for number in range(14)}
    away[NEWEST - 13 * HOUR] = "collecting"
    _fill(connection, dice, ap, people, list(PEOPLE[1:3]), away)
    us = add_cluster(
        connection,
        "us-east-1",
        currency="EUR",
        failures=4,
        next_visit_at=NOW + timedelta(minutes=4),
        last_answered_at=NOW - timedelta(hours=3, minutes=4),
        last_outcome="pod: no pod matches app=opencost in namespace opencost",
    )
    trouble = {NEWEST - number * HOUR: "failed" for number in range(3)} | {
        NEWEST - 9 * HOUR: "refused",
        NEWEST - 20 * HOUR: "gap",
        NEWEST - 21 * HOUR: "gap",
        NEWEST - 30 * HOUR: "held",
        **{NEWEST - number * HOUR: "waived" for number in range(36, 40)},
    }
    _fill(connection, dice, us, people, list(PEOPLE[IN_EUROS:]), trouble)


def _fill(
    connection: Connection,
    dice: random.Random,
    cluster: Cluster,
    people: dict[str, User],
    chosen: list[tuple[str, tuple[str, ...]]],
    odd: dict[datetime, str],
) -> None:
    hour = SINCE
    while hour <= NEWEST:
        state = odd.get(hour, "settled" if hour < NOW - DAY - HOUR else "collected")
        why = WHY.get(state, ("", ""))
        lease = {"lease_until": NOW + HOUR} if state == "collecting" else {}
        add_window(
            connection,
            cluster,
            hour,
            "due" if state == "collecting" else state,
            fault=why[0] or None,
            why=why[1],
            next_try_at=NOW + timedelta(minutes=7) if state == "failed" else None,
            tries=3 if state == "failed" else 0,
            **lease,
        )
        if state in ("settled", "collected", "held"):
            _cost(connection, dice, cluster, people, chosen, hour)
        hour += HOUR


WHY = {
    "failed": ("no-pod", "no pod matches app=opencost in namespace opencost"),
    "refused": ("implausible", "the hour costs 12 400.00 EUR, the limit is 1 000.00 EUR"),
    "held": ("shrank", "the re-read lost 3 namespaces: geo-etl, geo-serve, recsys"),
    "gap": ("no-data", "OpenCost no longer has this hour"),
    "waived": ("", "paused: maintenance of the node pool"),
}


def _cost(
    connection: Connection,
    dice: random.Random,
    cluster: Cluster,
    people: dict[str, User],
    chosen: list[tuple[str, tuple[str, ...]]],
    hour: datetime,
) -> None:
    for email, namespaces in chosen:
        for name in namespaces:
            cpu = dice.randrange(20_000, 900_000) * 1000
            gpu = (
                dice.randrange(400_000, 3_200_000) * 1000
                if name.startswith(("vision", "llm"))
                else 0
            )
            ram, pv, network = cpu // 3, cpu // 9, cpu // 40
            total = cpu + gpu + ram + pv + network
            add_allocation(
                connection, cluster, hour, name, user=people[email], cost_nano=total,
                cpu_nano=cpu, gpu_nano=gpu, ram_nano=ram, pv_nano=pv, network_nano=network,
                gpu_hours_micro=1_000_000 if gpu else 0, pv_byte_hours=50 * 2**30,
                network_transfer_bytes=2**28,
            )  # fmt: skip
    for name, kind, nano in (
        ("kube-system", "system", 210_430_000),
        ("__idle__", "idle", 1_904_110_000),
        ("sandbox-thesis", "unmapped", 81_250_000),
        ("tmp-import", "unmapped", 32_500_000),
    ):
        add_allocation(connection, cluster, hour, name, kind=kind, cost_nano=nano)
