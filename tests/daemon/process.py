"""A real `hopsmeterd run` on loopback, and what it says."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.error import HTTPError
from urllib.request import urlopen

from core.clusters.vault import init_keyring

ROOT = Path(__file__).resolve().parents[2]
WAIT_LIMIT_S = 30.0
POLL_S = 0.02

T = TypeVar("T")


def environment(state: Path, **settings: str) -> dict[str, str]:
    """Return what a daemon needs around it, and nothing of the machine's own settings."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    given = {f"HOPSMETER_{name.upper()}": value for name, value in settings.items()}
    return {
        **kept,
        # Stripe's SDK hands httpx its form as httpx no longer likes it; nothing of ours.
        "PYTHONWARNINGS": "error,ignore:Use 'content=<...>' to upload raw:DeprecationWarning",
        "HOPSMETER_STATE_FOLDER": str(state),
        "HOPSMETER_LISTEN": "127.0.0.1:0",
        "HOPSMETER_CONFIG": str(empty_config(state)),
        **given,
    }


def empty_config(state: Path) -> Path:
    config = state / "hopsmeter.toml"
    config.touch()
    return config


def state_folder(path: Path) -> Path:
    """Make a state folder with a keyring."""
    path.mkdir(mode=0o700, exist_ok=True)
    init_keyring(path / "keyring")
    return path


def once(*arguments: str, around: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "daemon", *arguments],
        env=around,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=WAIT_LIMIT_S,
    )


class Daemon:
    """One running daemon; `end` it, or use it as a context."""

    def __init__(self, around: Mapping[str, str]) -> None:
        self._lines: list[str] = []
        self._read_log: list[dict[str, Any]] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "daemon", "run"],
            env=around,
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._lines.append(line)

    @property
    def text(self) -> str:
        return "".join(self._lines)

    @property
    def log(self) -> list[dict[str, Any]]:
        # Asked for many times a second while a test waits: each line is read once.
        self._read_log += [json.loads(line) for line in self._lines[len(self._read_log) :]]
        return self._read_log

    def wait_for(self, event: str, *, after: int = 0) -> dict[str, Any]:
        """Wait until the log tells of `event` in its lines from `after` on."""
        return self.until(
            lambda: next((line for line in self.log[after:] if line["event"] == event), None)
        )

    def until(self, look: Callable[[], T | None]) -> T:
        deadline_s = time.monotonic() + WAIT_LIMIT_S
        while time.monotonic() < deadline_s:
            found = look()
            if found:
                return found
            if self.process.poll() is not None and not self._reader.is_alive():
                break
            time.sleep(POLL_S)
        raise AssertionError(f"it did not come; the log says:\n{self.text}")

    def ready(self) -> "Daemon":
        self.wait_for("the database answers; work begins")
        return self

    def ask(self, path: str) -> tuple[int, str]:
        """Return status and body of a page."""
        address = self.wait_for("listening")["address"]
        try:
            with urlopen(f"http://{address}{path}", timeout=WAIT_LIMIT_S) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as refusal:
            with refusal:
                return refusal.code, refusal.read().decode()

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            code = self.process.wait(WAIT_LIMIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            self._reader.join(WAIT_LIMIT_S)
            if self.process.stderr is not None:
                self.process.stderr.close()
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end(signal.SIGKILL)
