"""The story of what runs on a cluster: who works there, and what each hour uses.

Everything is a pure function of (seed, cluster, hour). Nothing is remembered between hours, so
hours may be asked in any order, by any process, and say the same for ever. Projects live in
cycles of a few weeks anchored to the epoch, not to the start of a run: whatever fortnight is
looked at, some projects grow, some sleep, some burst onto GPUs and some are gone.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from core.clock import HOUR

GIB = 2**30
_MASK = 2**64 - 1
_MONDAY_OFFSET = 3  # 1970-01-01 was a Thursday

SYSTEM_NAMESPACES = (
    "kube-system",
    "opencost",
    "hopsworks",
    "monitoring",
    "ingress-nginx",
    "cert-manager",
    "gatekeeper-system",
    "backup",
)
_TOPIC_TEXT = (
    "fraud-detection churn-model credit-risk demand-forecast recsys ad-ranking image-search "
    "nlp-lab pricing telemetry anomaly-watch speech feature-mart route-planner yield-curve "
    "genome-qc claims-triage energy-load sentiment vision-qa stock-levels lead-scoring "
    "sensor-hub card-fraud customer-360 web-search doc-parser chat-assist driver-eta "
    "crop-health lidar-fusion news-feed video-tags loan-default inventory supply-risk "
    "patient-flow wind-farm ocr-batch game-match"
)
_TOPICS = _TOPIC_TEXT.split()
_PEOPLE_TEXT = (
    "Ada Lindqvist,Bruno Costa,Chidi Okafor,Dana Petrova,Elif Yilmaz,Farid Haddad,Greta Holm,"
    "Hiro Tanaka,Ines Moreau,Jonas Weber,Kavya Rao,Liam Byrne,Mina Park,Nils Eriksson,"
    "Olga Smirnova,Pablo Ruiz,Qi Zhang,Rosa Bianchi,Samir Nasser,Tove Dahl,Uma Iyer,Viktor Novak,"
    "Wanda Kowalska,Yusuf Demir"
)
_PEOPLE = _PEOPLE_TEXT.split(",")
_KINDS = ("notebook", "service", "growing", "training", "nightly", "storage", "visitor")
_GPU_KINDS = ("training", "notebook", "training", "service", "growing", "training", *_KINDS[4:])
_UNMAPPED_EVERY = 9
_HANDOVER_EVERY = 11


@dataclass(frozen=True)
class Person:
    user_id: str
    """As Auth0 writes it: `auth0|` and 24 hex digits."""
    email: str
    name: str


@dataclass(frozen=True)
class Ownership:
    cluster: str
    namespace: str
    project: str
    """The project's name as people write it, with underscores where the namespace has dashes."""
    user_id: str
    from_hour: datetime


@dataclass(frozen=True)
class Rates:
    cpu_core_hour: float = 0.031611
    ram_gib_hour: float = 0.004237
    gpu_hour: float = 0.95
    pv_gib_hour: float = 0.00005479
    network_gib: float = 0.01
    balancer_hour: float = 0.025


class Flow(NamedTuple):
    """What one namespace used within one hour, alive in minutes [begin_min, end_min)."""

    begin_min: float
    end_min: float
    cpu_request_h: float = 0
    cpu_use_h: float = 0
    ram_request_bh: float = 0
    ram_use_bh: float = 0
    gpu_h: float = 0
    pv_bh: float = 0
    sent_bytes: float = 0
    received_bytes: float = 0
    lb_h: float = 0


def mix(*parts: object) -> int:
    """Return 64 stable bits of these parts; the same in every process and version of Python."""
    text = "\x1f".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")


def noise(key: int, index: int) -> float:
    """Return a number in [0, 1) for (key, index), by splitmix64: cheap enough for every row."""
    z = (key + (index + 1) * 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return ((z ^ (z >> 31)) >> 11) / 2**53


@dataclass(frozen=True)
class Project:
    """One namespace and how it behaves."""

    namespace: str
    kind: str
    key: int
    cores: float
    ram_gib: float
    gpus: int
    pv_gib: float
    net_gib: float
    cycle_h: int
    phase_h: int

    def position(self, t: int) -> float:
        """Return where in its cycle the project stands at hour t since 1970: [0, 1)."""
        return ((t + self.phase_h) % self.cycle_h) / self.cycle_h


def people(seed: int) -> list[Person]:
    return [
        Person(
            user_id=f"auth0|{mix(seed, 'user', name):016x}{mix(seed, 'more', name) >> 32:08x}",
            email=f"{name.lower().replace(' ', '.')}@example.com",
            name=name,
        )
        for name in _PEOPLE
    ]


def _namespace_names(count: int) -> Iterator[str]:
    for index in range(count):
        round_no, topic = divmod(index, len(_TOPICS))
        yield _TOPICS[topic] + (f"-{round_no + 1}" if round_no else "")


def _project(seed: int, cluster: str, namespace: str, kind: str) -> Project:
    key = mix(seed, cluster, namespace)

    def roll(index: int) -> float:
        return noise(key, -index)

    return Project(
        namespace=namespace,
        kind=kind,
        key=key,
        cores=0.25 + 3.5 * roll(1) ** 2,
        ram_gib=1 + 14 * roll(2) ** 2,
        gpus=1 + int(roll(3) * 8),
        pv_gib=5 + 400 * roll(4) ** 3,
        net_gib=0.02 + 0.8 * roll(5) ** 3,
        cycle_h=24 * (14 + int(roll(6) * 30)),
        phase_h=int(roll(7) * 1000),
    )


class Story:
    """What happens on one cluster of `namespaces` namespaces (system ones included)."""

    def __init__(
        self,
        seed: int,
        cluster: str,
        namespaces: int = 40,
        shift_h: int = 0,
        *,
        gpu_heavy: bool = False,
    ) -> None:
        """`shift_h` is the cluster's time zone: people work when it is day where they are."""
        self.seed, self.cluster, self.shift_h = seed, cluster, shift_h
        self.rates = Rates()
        system = SYSTEM_NAMESPACES[: max(1, min(len(SYSTEM_NAMESPACES), namespaces - 1))]
        names = list(_namespace_names(max(0, namespaces - len(system))))
        self.projects = [_project(seed, cluster, name, "system") for name in system]
        kinds = _GPU_KINDS if gpu_heavy else _KINDS
        offset = mix(seed, cluster) % len(kinds)
        self.projects += [
            _project(seed, cluster, name, kinds[(index + offset) % len(kinds)])
            for index, name in enumerate(names)
        ]
        self.namespaces = [project.namespace for project in self.projects]

    def hour(self, hour: datetime) -> dict[str, Flow]:
        """Return what each namespace with anything to show used in [hour, hour + 1 h)."""
        t = int(hour.timestamp()) // 3600
        flows = ((project, _flow(project, t, self.shift_h)) for project in self.projects)
        return {project.namespace: flow for project, flow in flows if flow is not None}

    def idle(self, hour: datetime, flows: dict[str, Flow]) -> Flow:
        """Return what the nodes had left over beside these `flows` of the hour."""
        t = int(hour.timestamp()) // 3600
        used = flows.values()
        key = mix(self.seed, self.cluster, "idle")
        share = 0.15 + 0.25 * noise(key, t)
        # As many idle GPUs as the largest pool leaves on average: they cost most.
        gpu_h = round(noise(key, -t) * 2)
        return Flow(
            0,
            60,
            cpu_request_h=share * sum(flow.cpu_request_h for flow in used),
            ram_request_bh=share * sum(flow.ram_request_bh for flow in used),
            gpu_h=gpu_h,
        )

    def unmounted(self, hour: datetime) -> Flow:
        """Return the volumes that belong to no claim: they cost, and are nobody's."""
        t = int(hour.timestamp()) // 3600
        gib = 40 + 10 * (noise(mix(self.seed, self.cluster, "unmounted"), t // 24) > 0.5)
        return Flow(0, 60, pv_bh=gib * GIB)

    def ownership(self, since: datetime) -> list[Ownership]:
        """Return who owns what from `since` on; some namespaces are left out on purpose.

        A few change hands three days after `since`.
        """
        staff = people(self.seed)
        offset = mix(self.seed, self.cluster, "owners")
        owned = []
        projects = [project for project in self.projects if project.kind != "system"]
        for index, project in enumerate(projects):
            if index % _UNMAPPED_EVERY == _UNMAPPED_EVERY - 1:
                continue
            title = project.namespace.replace("-", "_")
            hands = [(offset + index * 7, since)]
            if index % _HANDOVER_EVERY == _HANDOVER_EVERY - 1:
                hands.append((offset + index * 7 + 5, since + timedelta(days=3)))
            owned += [
                Ownership(
                    self.cluster,
                    project.namespace,
                    title,
                    staff[person % len(staff)].user_id,
                    from_hour,
                )
                for person, from_hour in hands
            ]
        return owned

    def unmapped(self) -> list[str]:
        """Return the namespaces of projects that `ownership` leaves out."""
        owned = {entry.namespace for entry in self.ownership(datetime(2026, 1, 1, tzinfo=UTC))}
        return [
            project.namespace
            for project in self.projects
            if project.kind != "system" and project.namespace not in owned
        ]


def _flow(project: Project, t: int, shift_h: int) -> Flow | None:
    local = t + shift_h
    day, hour_of_day = divmod(local, 24)
    weekend = (day + _MONDAY_OFFSET) % 7 >= 5
    jitter = 0.85 + 0.3 * noise(project.key, t)
    match project.kind:
        case "system":
            return _running(project, t, 0.6 * jitter, lb_h=project.namespace == "ingress-nginx")
        case "service":
            return _running(project, t, jitter * (0.7 if 0 <= hour_of_day < 6 else 1.0))
        case "growing":
            return _running(project, t, jitter * 0.4 * 8 ** project.position(t))
        case "notebook":
            at_work = 8 <= hour_of_day < 19 and not weekend
            return _running(project, t, jitter) if at_work else _resting(project)
        case "training":
            return _training(project, t, day, hour_of_day, jitter)
        case "nightly":
            return _nightly(project, t, hour_of_day, jitter)
        case "visitor":
            gone = project.position(t) > 0.7
            return None if gone else _running(project, t, jitter)
        case _:
            return _resting(project)


def _running(
    project: Project,
    t: int,
    load: float,
    *,
    gpus: int = 0,
    minutes: tuple[float, float] = (0, 60),
    lb_h: float = 0,
) -> Flow:
    hours = (minutes[1] - minutes[0]) / 60
    cores = project.cores * load * hours
    ram_bh = project.ram_gib * (0.5 + load / 2) * hours * GIB
    busy = 0.1 + 0.8 * noise(project.key, t + 1_000_000)
    sent = project.net_gib * load * hours * GIB
    return Flow(
        *minutes,
        cpu_request_h=cores,
        cpu_use_h=cores * busy,
        ram_request_bh=ram_bh,
        ram_use_bh=ram_bh * (0.4 + busy / 2),
        gpu_h=gpus * hours,
        pv_bh=project.pv_gib * hours * GIB,
        sent_bytes=sent,
        received_bytes=sent * 1.7,
        lb_h=lb_h * hours,
    )


def _resting(project: Project) -> Flow:
    """A sleeping project keeps its volume: OpenCost lists an unmounted claim in its namespace."""
    return Flow(0, 60, pv_bh=project.pv_gib * GIB)


def _training(project: Project, t: int, day: int, hour_of_day: int, jitter: float) -> Flow:
    if noise(project.key, day + 5_000_000) < 0.4:
        begin = int(noise(project.key, day + 6_000_000) * 14)
        length = 2 + int(noise(project.key, day + 7_000_000) * 8)
        if begin <= hour_of_day < begin + length:
            last = hour_of_day == begin + length - 1
            minutes = (0.0, 35.0) if last else (0.0, 60.0)
            return _running(project, t, 2.5 * jitter, gpus=project.gpus, minutes=minutes)
    return _resting(project)


def _nightly(project: Project, t: int, hour_of_day: int, jitter: float) -> Flow | None:
    """Pods that come at night and are gone by day, volume and all."""
    if hour_of_day not in (1, 2, 3):
        return None
    minutes = {1: (12.0, 60.0), 2: (0.0, 60.0), 3: (0.0, 20.0 + 5 * int(4 * jitter))}
    return _running(project, t, 3 * jitter, minutes=minutes[hour_of_day])


def hours_between(start: datetime, end: datetime) -> Iterator[datetime]:
    """Yield each hour that [start, end) touches."""
    hour = start.replace(minute=0, second=0, microsecond=0)
    while hour < end:
        yield hour
        hour += HOUR
