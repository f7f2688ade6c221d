"""What systemd is told (sd_notify(3)): ready, alive, stopping, and a line of status."""

import contextlib
import os
import socket
from collections.abc import Mapping

SEND_LIMIT_S = 1.0


class Supervisor:
    """Silent where no supervisor listens."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        ours = environment.get("WATCHDOG_PID", "") in ("", str(os.getpid()))
        watchdog_us = environment.get("WATCHDOG_USEC", "") if ours else ""
        self.watchdog_s = int(watchdog_us) / 1_000_000 if watchdog_us.isdigit() else None
        """Within this time `alive` must be told, or systemd restarts us; None: it does not watch."""

    def ready(self, status: str) -> None:
        self._tell(f"READY=1\nSTATUS={status}")

    def status(self, status: str) -> None:
        self._tell(f"STATUS={status}")

    def alive(self) -> None:
        self._tell("WATCHDOG=1")

    def stopping(self) -> None:
        self._tell("STOPPING=1\nSTATUS=stopping")

    def _tell(self, state: str) -> None:
        if not self._address:
            return
        address = self._address
        if address.startswith("@"):  # an abstract socket: its name begins with a zero byte
            address = "\0" + address[1:]
        # A supervisor that is gone or busy must not stop us; the watchdog would tell.
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line,
        ):
            line.settimeout(SEND_LIMIT_S)
            line.sendto(state.encode(), address)
