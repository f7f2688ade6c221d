"""The daemon's side of the fork server: start it, ask it for children, end them."""

import atexit
import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import core
from core.clusters.connection.wire import READY

START_S = 30.0
FORK_S = 10.0
END_S = 2.0

_KEPT_ENVIRONMENT = ("LD_LIBRARY_PATH",)
"""An interpreter with a shared library of its own cannot start without; nothing else passes."""
_PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
from core.clusters.connection.forkserver import main
main(int(sys.argv[2]))
"""


class LaunchFault(Exception):
    """The fork server or a child of it could not be started."""


@dataclass(frozen=True)
class Child:
    """A process that runs one visit. Nothing of it needs a farewell, so its end is SIGKILL."""

    line: socket.socket
    pidfd: int

    def end(self) -> None:
        """Kill it, wait until it is gone (at most END_S), and close what led to it."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        poll.poll(END_S * 1000)
        self.line.close()
        os.close(self.pidfd)


class Launcher:
    """One fork server, started at the first visit; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._server: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def launch(self) -> Child:
        """Return a fresh child; LaunchFault if there can be none now."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                self._hand_over(theirs)
            ours.settimeout(FORK_S)
            _, fds, _, _ = socket.recv_fds(ours, len(READY), 1)
        except OSError as error:
            ours.close()
            raise LaunchFault(f"the fork server does not answer: {error}") from error
        except LaunchFault:
            ours.close()
            raise
        if not fds:
            ours.close()
            raise LaunchFault("the fork server cannot fork (no memory, or too many processes)")
        return Child(ours, fds[0])

    def pid(self) -> int:
        """Return the fork server's pid, starting it if need be."""
        with self._lock:
            self._control_socket()
            assert self._server
            return self._server.pid

    def stop(self) -> None:
        """End the fork server and with it every child; an ask under way ends with a fault."""
        with self._lock:
            self._stop()

    def _hand_over(self, line: socket.socket) -> None:
        with self._lock:
            try:
                socket.send_fds(self._control_socket(), [READY], [line.fileno()])
            except (BrokenPipeError, ConnectionResetError):
                # It was killed (out of memory, say): one new start, then the fault is real.
                self._stop()
                socket.send_fds(self._control_socket(), [READY], [line.fileno()])

    def _control_socket(self) -> socket.socket:
        if self._control is None:
            self._start()
        assert self._control
        return self._control

    def _start(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        root = Path(core.__file__).parent.parent
        with theirs:
            self._server = subprocess.Popen(
                [sys.executable, "-I", "-c", _PROGRAM, str(root), str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={k: os.environ[k] for k in _KEPT_ENVIRONMENT if k in os.environ},
                cwd="/",
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        self._control = ours
        ours.settimeout(START_S)
        try:
            ready = ours.recv(len(READY))
        except TimeoutError:
            ready = b""
        if ready != READY:
            self._stop()
            raise LaunchFault("the fork server did not start; its reason is in the log")

    def _stop(self) -> None:
        if self._control:
            self._control.close()
        if self._server:
            try:
                self._server.wait(END_S)
            except subprocess.TimeoutExpired:
                self._server.kill()
                self._server.wait(END_S)
        self._server = self._control = None


launcher = Launcher()
"""The process's own; its children are independent of each other, so one is enough."""
atexit.register(launcher.stop)
