"""The world in a process of its own, and its control endpoint, from the outside."""

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

START_S = 30.0
POLL_S = 0.02
ASK_S = 10.0
STOP_S = 10.0


class RemoteWorld:
    """A world that runs elsewhere; `description` is what World.describe() returned there."""

    def __init__(self, description: dict[str, Any], pid: int | None = None) -> None:
        self.description, self.pid = description, pid
        self.clusters: dict[str, dict[str, Any]] = {
            cluster["name"]: cluster for cluster in description["clusters"]
        }
        self._http = httpx.Client(
            base_url=description["control_url"], timeout=ASK_S, trust_env=False
        )

    def add_fault(self, cluster: str, kind: str, **settings: Any) -> int:
        """Set a fault (see sandbox.faults); instants may be datetimes. Returns its number."""
        values = {
            name: value.isoformat() if isinstance(value, datetime) else value
            for name, value in settings.items()
        }
        answer = self._ask("POST", "faults", json={"cluster": cluster, "kind": kind, **values})
        return int(answer["id"])

    def clear_faults(self, cluster: str = "") -> None:
        self._ask("DELETE", "faults", params={"cluster": cluster})

    def faults(self) -> dict[str, list[dict[str, Any]]]:
        return dict(self._ask("GET", "faults"))

    def asks(self) -> dict[str, list[dict[str, Any]]]:
        """Return what each cluster's OpenCost was asked, oldest first."""
        return dict(self._ask("GET", "asks"))

    def freeze(self, at: datetime) -> None:
        self._ask("POST", "clock", json={"now": at.isoformat()})

    def advance(self, seconds: float) -> None:
        self._ask("POST", "clock", json={"advance_s": seconds})

    def close(self) -> None:
        self._http.close()

    def _ask(self, method: str, path: str, **how: Any) -> Any:
        answer = self._http.request(method, f"/sandbox/{path}", **how)
        if answer.is_error:
            raise ValueError(answer.json()["error"])
        return answer.json()


@contextlib.contextmanager
def world_process(*arguments: str) -> Iterator[RemoteWorld]:
    """Run `python -m sandbox` with these arguments; it ends with the block, or with us."""
    with tempfile.TemporaryDirectory(prefix="hopsmeter-world-") as folder:
        port_file = Path(folder) / "world.json"
        command = [sys.executable, "-m", "sandbox", "--port-file", str(port_file)]
        process = subprocess.Popen(
            [*command, "--lifeline", "stdin", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        )
        try:
            remote = RemoteWorld(_await_description(port_file, process), process.pid)
            try:
                yield remote
            finally:
                remote.close()
        finally:
            _end(process)


def _await_description(port_file: Path, process: "subprocess.Popen[bytes]") -> dict[str, Any]:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if port_file.exists():
            return dict(json.loads(port_file.read_text()))
        if process.poll() is not None:
            raise RuntimeError(f"the sandbox ended at its start with {process.returncode}")
        time.sleep(POLL_S)
    raise TimeoutError(f"the sandbox was not up after {START_S:.0f} s")


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(STOP_S)
    if process.stdin:
        process.stdin.close()
