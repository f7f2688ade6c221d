"""The process that visits are forked from.

Why not multiprocessing's fork server: it hands each child the daemon's environment (secrets and
HTTPS_PROXY among it), imports the daemon's main module anew in each, and leaves reaping and
killing to pids, which can be another process by then. This one has an empty environment, answers
every request with a pidfd, and lets the kernel reap. It has imported all that a visit needs, so a
fork costs milliseconds where a new interpreter costs a third of a second.

Nobody outlives the daemon: this process ends when the daemon's end of the control socket closes
or its pidfd says that it is dead, and each visit dies with this process (PR_SET_PDEATHSIG).
Nobody here takes part in signals meant for the daemon (Ctrl-C at a terminal, systemd's stop): a
visit ends when the daemon closes or kills it.
"""

import ctypes
import gc
import os
import resource
import select
import signal
import socket

from core.clusters.connection import errand
from core.clusters.connection.wire import READY

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4


def main(control_fd: int) -> None:
    """Serve until the daemon is gone; `control_fd` is a SOCK_SEQPACKET socket."""
    _harden()
    errand.warm()
    # What is imported stays shared with every child: frozen objects are not touched by the
    # collector, so their pages are never copied.
    gc.collect()
    gc.freeze()
    owner = os.pidfd_open(os.getppid())
    with socket.socket(fileno=control_fd) as control:
        control.send(READY)
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 2)
        _serve(control, owner)


def _harden() -> None:
    """No core dump and no debugger reads our secrets; no signal for the daemon ends us."""
    _prctl(PR_SET_DUMPABLE, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_IGN)
    os.environ.clear()


def _serve(control: socket.socket, owner: int) -> None:
    poll = select.poll()
    poll.register(control, select.POLLIN)
    poll.register(owner, select.POLLIN)
    while True:
        ready = {fd for fd, _ in poll.poll()}
        if owner in ready:
            return
        _, fds, _, _ = socket.recv_fds(control, len(READY), 1)
        if not fds:
            return
        with socket.socket(fileno=fds[0]) as line:
            _fork(line, control, owner)


def _fork(line: socket.socket, control: socket.socket, owner: int) -> None:
    """Fork a visit and send its pidfd down its own line; on failure the line just closes."""
    server = os.getpid()
    try:
        pid = os.fork()
    except OSError:
        return
    if pid == 0:
        try:
            _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() == server:
                control.close()
                os.close(owner)
                errand.run(line)
        finally:
            os._exit(0)
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return
    try:
        socket.send_fds(line, [READY], [pidfd])
    except OSError:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    finally:
        os.close(pidfd)


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None).prctl(option, ctypes.c_ulong(value), 0, 0, 0):
        raise OSError(f"prctl {option} failed")
