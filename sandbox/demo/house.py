"""The processes of the demo: the sandbox world and a real `hopsmeterd`, both ending with us."""

import contextlib
import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

READY_S = 30.0
STOP_S = 40.0
"""Above the daemon's own limit for running transactions."""
COMMAND_S = 120.0
POLL_S = 0.05
CONFIG, CONFIG_DRAFT, STATE, LOG = "hopsmeter.toml", "hopsmeter.toml.new", "state", "daemon.log"
_PR_SET_PDEATHSIG = 1


class DemoFailed(Exception):
    """The demo cannot go on; the sentence says why and where to look."""


def program(name: str) -> str:
    """Return the path of one of our commands: beside this Python, else on the PATH."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise DemoFailed(f"The command {name} is not installed; `make demo` installs it.")
    return found


@dataclass(frozen=True)
class House:
    """Where the demo lives: `folder` holds everything, `environment` points our commands at it."""

    folder: Path
    environment: Mapping[str, str]

    @property
    def config_path(self) -> Path:
        return self.folder / CONFIG

    @property
    def log_path(self) -> Path:
        return self.folder / LOG

    def run(self, *arguments: str, quiet: bool = True) -> "subprocess.CompletedProcess[str]":
        """Run `hopsmeter` with arguments; DemoFailed with its own words where it fails."""
        done = subprocess.run(
            [program("hopsmeter"), *arguments],
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if quiet else None,
            stderr=subprocess.PIPE if quiet else None,
            text=True,
            timeout=COMMAND_S,
        )
        if done.returncode and quiet:
            said = (done.stderr or done.stdout).strip()
            raise DemoFailed(f"`hopsmeter {' '.join(arguments)}` failed: {said}")
        return done


def make_house(folder: Path) -> House:
    """Return the demo's place; settings of the caller decide nothing."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("HOPSMETER_", "PG"))
    }
    return House(
        folder,
        {
            **inherited,
            "HOPSMETER_CONFIG": str(_settings(folder)),
            "HOPSMETER_LISTEN": f"127.0.0.1:{_free_port()}",
            "HOPSMETER_HOOKS_LISTEN": f"127.0.0.1:{_free_port()}",
        },
    )


def _settings(folder: Path) -> Path:
    """Write the settings whole or not at all: on a full disk those of before stay."""
    path, draft = folder / CONFIG, folder / CONFIG_DRAFT
    state = toml_text(str(folder / STATE))
    try:
        draft.write_text(f"state_folder = {state}\nloopback_clusters = true\n", encoding="utf-8")
        draft.replace(path)
    except (OSError, UnicodeError):
        draft.unlink(missing_ok=True)
        raise
    return path


def toml_text(value: str) -> str:
    """Quote a text for TOML, which takes JSON's escapes, but wants one for DEL as well."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


@contextlib.contextmanager
def daemon(house: House) -> Iterator["subprocess.Popen[bytes]"]:
    """Run `hopsmeterd run` until the block ends; it is ready when the block begins."""
    with house.log_path.open("ab") as log:
        process = subprocess.Popen(
            [program("hopsmeterd"), "run"],
            env=dict(house.environment),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=_end_with_parent,  # noqa: PLW1509  # no threads run yet in this process
        )
    try:
        _await_ready(house, process)
        yield process
    finally:
        stop(process)


def stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(STOP_S)


def _last_why(log_path: Path) -> str:
    """Return why the daemon ended, in the sentence that it wrote last."""
    *_, line = ["", *log_path.read_text(errors="replace").splitlines()]
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return str(json.loads(line)["why"])
    return line


def _await_ready(house: House, process: "subprocess.Popen[bytes]") -> None:
    url = f"http://{house.environment['HOPSMETER_LISTEN']}/readyz"
    deadline_s = time.monotonic() + READY_S
    with httpx.Client(timeout=1.0, trust_env=False) as client:
        while time.monotonic() < deadline_s:
            if process.poll() is not None:
                raise DemoFailed(
                    f"hopsmeterd ended at its start: {_last_why(house.log_path)} See {house.log_path}."
                )
            with contextlib.suppress(httpx.HTTPError):
                if client.get(url).status_code == httpx.codes.OK:
                    return
            time.sleep(POLL_S)
    raise DemoFailed(f"hopsmeterd was not ready after {READY_S:.0f} s; see {house.log_path}.")


def arguments_of_world(clusters: int, namespaces: int, seed: int) -> Sequence[str]:
    counts = ("--clusters", str(clusters), "--namespaces", str(namespaces))
    return (*counts, "--seed", str(seed))
