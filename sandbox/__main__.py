"""`python -m sandbox --port-file F`: the world as a process of its own.

It writes what it made (URLs, kubeconfigs, users, ownership) to the port file once everything
listens, and runs until SIGTERM, SIGINT, or the end of its parent.
"""

import argparse
import ctypes
import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from sandbox.clock import WorldClock
from sandbox.world import World

_PR_SET_PDEATHSIG = 1
LIFELINES = ("parent", "stdin", "none")


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    _hold_lifeline(options.lifeline, stopping)
    clock = WorldClock(datetime.fromisoformat(options.now) if options.now else None)
    world = World(
        options.seed,
        options.clusters,
        namespaces=options.namespaces,
        now=clock,
        stripe=options.stripe,
    )
    with world:
        _write(options.port_file, world)
        print(f"sandbox: {len(world.clusters)} clusters, control at {world.control_url}")
        stopping.wait()
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m sandbox", description=__doc__)
    parser.add_argument("--port-file", type=Path, required=True, help="written when all listens")
    parser.add_argument("--clusters", type=int, default=3)
    parser.add_argument("--namespaces", type=int, default=None, help="per cluster; 40 by default")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--now", help="stop the world's clock at this instant (RFC 3339)")
    parser.add_argument("--stripe", action="store_true", help="with a sandbox Stripe")
    parser.add_argument(
        "--lifeline",
        choices=LIFELINES,
        default="parent",
        help="what ends it beside a signal: the end of the parent (its thread), or of stdin",
    )
    return parser.parse_args(arguments)


def _hold_lifeline(lifeline: str, stopping: threading.Event) -> None:
    if lifeline == "parent":
        parent = os.getppid()
        if sys.platform == "linux":
            ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it ended before we asked to be told
            stopping.set()
    elif lifeline == "stdin":

        def watch() -> None:
            # Not sys.stdin: its lock, held by this thread, would abort the interpreter's end.
            while os.read(0, 4096):
                pass
            stopping.set()

        threading.Thread(target=watch, daemon=True).start()


def _write(path: Path, world: World) -> None:
    """Write the description whole or not at all; it holds credentials of the sandbox."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.touch(mode=0o600)
    draft.write_text(json.dumps(world.describe()))
    draft.replace(path)


if __name__ == "__main__":
    sys.exit(main())
