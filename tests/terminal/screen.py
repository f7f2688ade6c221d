"""A real terminal for the dashboard: tmux, its screen read back, its bytes counted."""

import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COMMAND_LIMIT_S = 10
SIGHT_LIMIT_S = 20.0
STEP_S = 0.02
HISTORY = "echo before; "


@dataclass(frozen=True)
class Terminal:
    """One tmux server of this test's own, with one window."""

    socket: Path
    folder: Path

    def _tmux(self, *arguments: str) -> str:
        return subprocess.run(
            ["tmux", "-S", str(self.socket), "-f", "/dev/null", *arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=COMMAND_LIMIT_S,
            # Spelled out: readline, which pytest loads, puts COLUMNS and LINES into the C
            # environment behind Python's back, and programs believe them more than the terminal.
            env=dict(os.environ),
        ).stdout

    def start(self, dsn: str, width: int, height: int, **environment: str) -> None:
        """Start the dashboard in a shell of that size; every byte it writes is kept."""
        program = f"import sys; from tui.app import run; sys.exit(run({dsn!r}, environment='demo'))"
        command = f"{shlex.quote(sys.executable)} -c {shlex.quote(program)}"
        settings = " ".join(f"{name}={shlex.quote(value)}" for name, value in environment.items())
        self._tmux("new-session", "-d", "-x", str(width), "-y", str(height), "-c", str(ROOT), "sh")
        self._tmux("pipe-pane", f"cat > {shlex.quote(str(self.bytes_file))}")
        self._tmux("send-keys", "-l", f"{HISTORY}{settings} {command}; echo left with $?")
        self._tmux("send-keys", "Enter")

    @property
    def bytes_file(self) -> Path:
        return self.folder / "bytes"

    def written(self) -> int:
        return self.bytes_file.stat().st_size

    def press(self, *keys: str) -> None:
        self._tmux("send-keys", *keys)

    def type(self, text: str) -> None:
        self._tmux("send-keys", "-l", text)

    def resize(self, width: int, height: int) -> None:
        self._tmux("resize-window", "-x", str(width), "-y", str(height))

    def text(self) -> str:
        return self._tmux("capture-pane", "-p")

    def colours(self) -> str:
        """Return the screen with its colour codes."""
        return self._tmux("capture-pane", "-p", "-e")

    def until(self, wanted: str, *, gone: bool = False) -> str:
        """Wait until the text is (or no longer is) on the screen, and return the screen."""
        deadline = time.monotonic() + SIGHT_LIMIT_S
        while True:
            text = self.text()
            if (wanted in text) is not gone:
                return text
            if time.monotonic() > deadline:
                raise AssertionError(f"{wanted!r} is {'still' if gone else 'not'} there:\n{text}")
            time.sleep(STEP_S)

    def jiffies(self) -> int:
        """Return the CPU time of the program that runs in the window, in kernel ticks."""
        ticks = 0
        for child in self._programs():
            stat = (
                Path(f"/proc/{child}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            )
            ticks += int(stat[11]) + int(stat[12])
        return ticks

    def end(self) -> None:
        """Send SIGTERM to the program that runs in the window."""
        for child in self._programs():
            os.kill(int(child), signal.SIGTERM)

    def _programs(self) -> list[str]:
        shell = self._tmux("display-message", "-p", "#{pane_pid}").strip()
        return Path(f"/proc/{shell}/task/{shell}/children").read_text(encoding="utf-8").split()

    def close(self) -> None:
        subprocess.run(
            ["tmux", "-S", str(self.socket), "kill-server"],
            capture_output=True,
            timeout=COMMAND_LIMIT_S,
        )


TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
