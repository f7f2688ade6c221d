"""The world in a box: clusters on loopback, in one event loop in one thread."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, Self

from core.clock import Clock
from sandbox.clock import WorldClock
from sandbox.cluster import Cluster, ClusterSpec
from sandbox.control import Control
from sandbox.loop import LoopThread, Started
from sandbox.story import Ownership, Person, people
from sandbox.stripe.world import StripeWorld

START_S = 30.0
STOP_S = 10.0

DEFAULT_CLUSTERS = (
    ClusterSpec("eu-prod", cluster_id="eu-prod", version="1.36"),
    ClusterSpec("us-gpu", version="1.34", install="subchart", shift_h=-6, gpu_heavy=True),
    ClusterSpec("ap-dev", version="1.35", shift_h=8),
)


class World(Started):
    """`with World(seed=7) as world:` starts it, `world["eu-prod"]` is a cluster of it.

    `clusters` is a number, names or ClusterSpecs. `now` is the world's clock: by default a
    WorldClock that tells the real time until it is frozen or advanced. With `stripe=True` it has a
    StripeWorld under the same clock, as `world.stripe`.
    """

    def __init__(
        self,
        seed: int = 7,
        clusters: int | Sequence[str | ClusterSpec] = DEFAULT_CLUSTERS,
        *,
        namespaces: int | None = None,
        now: Clock | None = None,
        stripe: bool = False,
    ) -> None:
        self.seed = seed
        self.now: Clock = now or WorldClock()
        specs = _specs(clusters, namespaces)
        self.clusters = {spec.name: Cluster(spec, seed, self.now) for spec in specs}
        self._stripe = StripeWorld(self.now) if stripe else None
        self.control = Control(self)
        self._thread = LoopThread("sandbox")

    def __getitem__(self, name: str) -> Cluster:
        return self.clusters[name]

    def __iter__(self) -> Iterator[Cluster]:
        return iter(self.clusters.values())

    @property
    def clock(self) -> WorldClock:
        """The clock to freeze and advance; only where the world was given none of its own."""
        assert isinstance(self.now, WorldClock), "this world was given a clock: move that one"
        return self.now

    @property
    def stripe(self) -> StripeWorld:
        assert self._stripe, "this world was made without Stripe: World(stripe=True)"
        return self._stripe

    @property
    def has_stripe(self) -> bool:
        return self._stripe is not None

    @property
    def users(self) -> list[Person]:
        return people(self.seed)

    @property
    def ownership(self) -> list[Ownership]:
        """Who owns what, all clusters; what is not listed is unmapped on purpose."""
        return [entry for cluster in self for entry in cluster.ownership()]

    @property
    def control_url(self) -> str:
        return self.control.url

    def describe(self) -> dict[str, Any]:
        """Return what another process needs to know, as plain JSON values."""
        return self.control.describe()

    def start(self) -> Self:
        if self._stripe:
            self._stripe.start()
        self._thread.start()
        self._thread.call(self._start(), START_S)
        return self

    def stop(self) -> None:
        if self._thread.running:
            self._thread.call(self._stop(), STOP_S)
            self._thread.stop()
        if self._stripe:
            self._stripe.stop()

    def scenario_bad_for_a_while(self, name: str, asks: int = 12) -> int:
        """Let a cluster's OpenCost answer 500 to its next `asks` asks; return the fault's number."""
        return self[name].faults.add(
            "error_500", times=asks, body="prometheus communication error: Service Unavailable"
        )

    async def _start(self) -> None:
        for cluster in self:
            await cluster.server.start()
        await self.control.start()

    async def _stop(self) -> None:
        await self.control.stop()
        for cluster in self:
            await cluster.server.stop()


def _specs(
    clusters: int | Sequence[str | ClusterSpec], namespaces: int | None
) -> list[ClusterSpec]:
    if isinstance(clusters, int):
        known = list(DEFAULT_CLUSTERS[:clusters])
        extra = range(len(known) + 1, clusters + 1)
        specs = [*known, *(ClusterSpec(f"cluster-{n}", cluster_id=f"c{n}") for n in extra)]
    else:
        by_name = {spec.name: spec for spec in DEFAULT_CLUSTERS}
        specs = [
            by_name.get(entry, ClusterSpec(entry)) if isinstance(entry, str) else entry
            for entry in clusters
        ]
    if namespaces is not None:
        specs = [dataclasses.replace(spec, namespaces=namespaces) for spec in specs]
    return specs
