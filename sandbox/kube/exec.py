"""Exec: a command in a container, over a websocket."""

import asyncio
import json
from collections.abc import Coroutine
from dataclasses import dataclass, field, replace
from typing import Any

from core.clock import Clock
from sandbox.faults import Fault, FaultBook, Moment
from sandbox.kube import status
from sandbox.kube.channels import ERROR, STDERR, STDOUT, V4, V5, Channels
from sandbox.kube.objects import API_PORT, Container, Pod
from sandbox.kube.process import (
    Fetch,
    Inside,
    NotStarted,
    Outcome,
    run,
    status_not_started,
    status_of,
)
from sandbox.wire import Request, Response

FAULTS = ("cut", "no_status", "exit_code", "wget_missing", "tools_missing", "http_proxy")


@dataclass
class Exec:
    faults: FaultBook
    fetch: Fetch
    now: Clock
    _processes: "set[asyncio.Task[tuple[Outcome, dict[str, Any]]]]" = field(default_factory=set)

    @property
    def running(self) -> int:
        return len(self._processes)

    async def stop(self) -> None:
        for process in list(self._processes):
            process.cancel()
        await asyncio.gather(*self._processes, return_exceptions=True)

    async def serve(
        self,
        request: Request,
        pod: Pod,
        moment: Moment,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        v5: bool,
    ) -> Response | None:
        """Run the command of an exec request; a response only where it is refused."""
        container = _container(request, pod)
        if isinstance(container, Response):
            return container
        argv = request.query.get("command", [])
        if not argv:
            return status.refusal(400, "you must specify at least 1 command for the container")
        if not request.upgrades_to_websocket:
            return status.refusal(400, "Upgrade request required")
        channels = Channels(request, reader, writer, [V5, V4] if v5 else [V4])
        if not await channels.open(self.now()):
            return None
        struck = self.faults.take(FAULTS, moment)
        await self._converse(channels, request, argv, container, struck)
        return None

    async def _converse(
        self,
        channels: Channels,
        request: Request,
        argv: list[str],
        container: Container,
        struck: dict[str, Fault],
    ) -> None:
        # A real server opens with an empty frame on the lowest channel that it writes.
        await channels.send(STDOUT, b"")
        listening = asyncio.ensure_future(channels.until_client_leaves())
        process = self._start(self._process(argv, container, struck))
        try:
            await asyncio.wait([process, listening], return_when=asyncio.FIRST_COMPLETED)
            if not process.done():
                return  # the process stays, as it does in a real container
            outcome, ending = process.result()
            await _deliver(channels, request, outcome, ending, struck)
            if "cut" not in struck:
                await channels.close(listening)
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    def _start(
        self, work: Coroutine[Any, Any, tuple[Outcome, dict[str, Any]]]
    ) -> "asyncio.Task[tuple[Outcome, dict[str, Any]]]":
        process = asyncio.get_running_loop().create_task(work)
        self._processes.add(process)
        process.add_done_callback(self._processes.discard)
        return process

    async def _process(
        self, argv: list[str], container: Container, struck: dict[str, Fault]
    ) -> tuple[Outcome, dict[str, Any]]:
        tools = container.tools
        if API_PORT in container.ports:
            if "wget_missing" in struck:
                tools = (tools - {"wget"}) | {"curl"}
            if "tools_missing" in struck:
                tools -= {"wget", "curl"}
        inside = Inside(tools, self.fetch, self.now, http_proxy="http_proxy" in struck)
        try:
            outcome = await run(argv, inside)
        except NotStarted as error:
            return Outcome(), status_not_started(error)
        if fault := struck.get("exit_code"):
            half = outcome.stdout[: len(outcome.stdout) // 2]
            outcome = replace(outcome, exit_code=fault.code, stdout=half)
        return outcome, status_of(argv, outcome)


async def _deliver(
    channels: Channels,
    request: Request,
    outcome: Outcome,
    ending: dict[str, Any],
    struck: dict[str, Fault],
) -> None:
    stdout = outcome.stdout
    if cut := struck.get("cut"):
        stdout = stdout[: cut.bytes or len(stdout) // 2]
    if _wants(request, "stdout"):
        await channels.send(STDOUT, stdout)
    if "cut" in struck:
        await channels.cut()
        return
    if outcome.stderr and _wants(request, "stderr"):
        await channels.send(STDERR, outcome.stderr)
    if "no_status" not in struck:
        await channels.send(ERROR, json.dumps(ending, separators=(",", ":")).encode())


def _wants(request: Request, stream: str) -> bool:
    return request.first(stream).lower() in ("1", "true")


def _container(request: Request, pod: Pod) -> Container | Response:
    name = request.first("container")
    names = [container.name for container in pod.containers]
    if not name and len(names) > 1:
        message = f"a container name must be specified for pod {pod.name}, choose one of: "
        return status.refusal(400, f"{message}[{' '.join(names)}]")
    for container in pod.containers:
        if name in ("", container.name):
            return container
    return status.refusal(400, f"container {name} is not valid for pod {pod.name}")
