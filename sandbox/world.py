"""The world in a box: clusters on loopback, in one event loop in one thread."""

import asyncio
import dataclasses
import threading
from collections.abc import Coroutine, Iterator, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from core.clock import Clock
from sandbox.clock import WorldClock
from sandbox.cluster import Cluster, ClusterSpec
from sandbox.control import Control
from sandbox.story import Ownership, Person, people

START_S = 30.0
STOP_S = 10.0

DEFAULT_CLUSTERS = (
    ClusterSpec("eu-prod", cluster_id="eu-prod", version="1.36"),
    ClusterSpec("us-gpu", version="1.34", install="subchart", shift_h=-6, gpu_heavy=True),
    ClusterSpec("ap-dev", version="1.35", shift_h=8),
)

Result = TypeVar("Result")


class World:
    """`with World(seed=7) as world:` starts it, `world["eu-prod"]` is a cluster of it.

    `clusters` is a number, names or ClusterSpecs. `now` is the world's clock: by default a
    WorldClock that tells the real time until it is frozen or advanced.
    """

    def __init__(
        self,
        seed: int = 7,
        clusters: int | Sequence[str | ClusterSpec] = DEFAULT_CLUSTERS,
        *,
        namespaces: int | None = None,
        now: Clock | None = None,
    ) -> None:
        self.seed = seed
        self.now: Clock = now or WorldClock()
        specs = _specs(clusters, namespaces)
        self.clusters = {spec.name: Cluster(spec, seed, self.now) for spec in specs}
        self.control = Control(self)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="sandbox", daemon=True)

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
        self._loop = asyncio.new_event_loop()
        self._thread.start()
        self._call(self._start(), START_S)
        return self

    def stop(self) -> None:
        if self._loop is None:
            return
        self._call(self._stop(), STOP_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(STOP_S)
        self._loop.close()
        self._loop = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def scenario_bad_for_a_while(self, name: str, asks: int = 12) -> int:
        """Let a cluster's OpenCost answer 500 to its next `asks` asks; return the fault's number."""
        return self[name].faults.add(
            "error_500", times=asks, body="prometheus communication error: Service Unavailable"
        )

    def _run(self) -> None:
        assert self._loop is not None
        self._loop.run_forever()

    def _call(self, work: Coroutine[Any, Any, Result], timeout_s: float) -> Result:
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout_s)

    async def _start(self) -> None:
        for cluster in self:
            await cluster.server.start()
        await self.control.start()

    async def _stop(self) -> None:
        await self.control.stop()
        for cluster in self:
            await cluster.server.stop()
        await _end_the_rest()


async def _end_the_rest() -> None:
    """End what still converses: left to the closed loop, it would complain as the process ends."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    # What was closed just now is told so in the loop's next turn.
    await asyncio.sleep(0)


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
