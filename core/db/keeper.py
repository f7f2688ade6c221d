"""Starting a program that ends when we do, under another account where we are root."""

import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from core.db.account import Account
from core.db.embedded_files import ENVIRONMENT

_LAUNCHER = Path(__file__).with_name("launcher.py")


def launched(account: Account, program: Path) -> list[str]:
    """Return the command that becomes `program`, as that account, tied to this process."""
    return [
        *(sys.executable, "-I", "-S", str(_LAUNCHER)),
        *(str(os.getpid()), str(account.uid), str(account.gid), str(program)),
    ]


class Keeper(threading.Thread):
    """Starts the server and waits until it ends.

    The kernel ties a death signal to the *thread* that started the child: were it started by a
    worker thread, the server would go down with that one. So each server has a thread of its own,
    which ends only with the server or with the process.
    """

    def __init__(self, command: Sequence[str], descriptors: Sequence[int], log: int) -> None:
        super().__init__(name="postgres-keeper", daemon=True)
        self._command, self._descriptors, self._log = command, descriptors, log
        self._launched = threading.Event()
        self._fault: OSError | None = None
        self.process: subprocess.Popen[bytes]

    def launch(self) -> None:
        self.start()
        self._launched.wait()
        if self._fault is not None:
            raise self._fault

    def run(self) -> None:
        try:
            self.process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                pass_fds=self._descriptors,
                cwd="/",
                env=ENVIRONMENT,
                start_new_session=True,  # Ctrl-C is for us; we tell the server in our own order
            )
        except OSError as fault:
            self._fault = fault
            return
        finally:
            self._launched.set()
        self.process.wait()


@dataclass(frozen=True)
class Passage:
    """How the server's account reaches our folders.

    As root it may not be able to enter the folders above them (a private home), and these are not
    ours to open. But a folder that was opened before can be entered through its descriptor.
    """

    descriptors: tuple[int, ...]
    paths: tuple[str, ...]

    @classmethod
    def through(cls, account: Account, *folders: Path) -> Self:
        if not account.dropped:
            return cls((), tuple(map(str, folders)))
        opened = tuple(os.open(folder, os.O_PATH | os.O_DIRECTORY) for folder in folders)
        return cls(opened, tuple(f"/proc/self/fd/{descriptor}" for descriptor in opened))

    def close(self) -> None:
        for descriptor in self.descriptors:
            os.close(descriptor)
