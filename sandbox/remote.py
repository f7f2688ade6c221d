"""The world in a process of its own, and its control endpoint, from the outside."""

import contextlib
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

START_S = 30.0
POLL_S = 0.02
ASK_S = 10.0
STOP_S = 10.0
FOLDER_PREFIX = "hopsmeter-world-"


class RemoteStripe:
    """The sandbox Stripe of a world that runs elsewhere; `do` is for what people do."""

    def __init__(self, description: dict[str, Any], ask: Callable[..., Any]) -> None:
        self.url: str = description["url"]
        self.api_key: str = description["api_key"]
        self.api_version: str = description["api_version"]
        self._ask = ask

    def do(self, action: str, **arguments: Any) -> Any:
        """Do what a method of sandbox.stripe.people.People does: `do("pay", session=…)`."""
        return self._ask("POST", "stripe/do", json={"action": action, **arguments})

    def all(self, kind: str) -> list[dict[str, Any]]:
        """Every object of a kind ("invoice", "customer"), oldest first."""
        return list(self._ask("GET", "stripe/objects", params={"kind": kind}))

    def requests(self, path: str = "") -> list[dict[str, Any]]:
        """Return what was asked under a path, oldest first."""
        return list(self._ask("GET", "stripe/requests", params={"path": path}))

    def add_fault(self, kind: str, **settings: Any) -> int:
        """Set a fault (see sandbox.stripe.faults); instants may be datetimes."""
        values = _plain(settings)
        return int(self._ask("POST", "stripe/faults", json={"kind": kind, **values})["id"])

    def faults(self) -> list[dict[str, Any]]:
        return list(self._ask("GET", "stripe/faults"))

    def clear_faults(self) -> None:
        self._ask("DELETE", "stripe/faults")

    def set(self, **settings: Any) -> dict[str, Any]:
        """Set the account's settings (see sandbox.stripe.account.Settings); durations in seconds."""
        return dict(self._ask("POST", "stripe/settings", json=settings))

    def deliver(self, **switches: Any) -> dict[str, Any]:
        """Turn deliveries: doubled, shuffled, delay_s, paused, flush, reset, drop={"times": 1}."""
        return dict(self._ask("POST", "stripe/deliveries", json=switches))

    def deliveries(self) -> dict[str, Any]:
        """Return the switches, how many webhooks are on their way, and the attempts so far."""
        return dict(self._ask("GET", "stripe/deliveries"))

    def catch_up(self) -> int:
        return int(self._ask("POST", "stripe/catch_up")["done"])


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

    @property
    def stripe(self) -> RemoteStripe:
        """The world's Stripe; only where it was started with `--stripe`."""
        return RemoteStripe(self.description["stripe"], self._ask)

    def add_fault(self, cluster: str, kind: str, **settings: Any) -> int:
        """Set a fault (see sandbox.faults); instants may be datetimes. Returns its number."""
        values = _plain(settings)
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


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in settings.items()
    }


@contextlib.contextmanager
def world_process(*arguments: str) -> Iterator[RemoteWorld]:
    """Run `python -m sandbox` with these arguments; it ends with the block, or with us."""
    _sweep()
    with tempfile.TemporaryDirectory(prefix=f"{FOLDER_PREFIX}{os.getpid()}-") as folder:
        port_file = Path(folder) / "world.json"
        command = [sys.executable, "-m", "sandbox", "--port-file", str(port_file)]
        process = subprocess.Popen(
            [*command, "--lifeline", "stdin", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        )
        try:
            remote = RemoteWorld(_await_description(port_file, process), process.pid)
            # It holds credentials: nobody reads it again, and we may be killed.
            port_file.unlink()
            try:
                yield remote
            finally:
                remote.close()
        finally:
            _end(process)


def _sweep() -> None:
    """Remove the folders of owners that were killed: their number stands in the name.

    The temporary folder is everybody's: what is not our own account's, or a link, is left alone.
    """
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}*-*"):
        owner = folder.name.removeprefix(FOLDER_PREFIX).partition("-")[0]
        if not owner.isdigit() or Path(f"/proc/{owner}").exists():
            continue
        with contextlib.suppress(OSError):
            facts = folder.lstat()
            if stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.geteuid():
                shutil.rmtree(folder, ignore_errors=True)


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
