"""What must be there before work begins, checked in this order; each fault is a sentence.

No secret, no start: without its keyring the daemon would seal nothing and open nothing.
"""

import contextlib
import fcntl
import os
import socket
import threading
from collections.abc import Callable, Iterator
from importlib.metadata import version

from core.billing.stripe.gateway import door_of
from core.billing.stripe.signature import signing_of
from core.billing.webhook import open_webhook
from core.clock import utc_now
from core.clusters.keys import open_keyring, prove_keyring
from core.errors import Conflict, HopsmeterError, SettingsFault
from core.settings import Settings
from daemon.collecting import Collecting
from daemon.database import Database
from daemon.deps import Deps, Report
from daemon.jobs import heartbeat
from daemon.tally import Tally
from daemon.web.server import bind


@contextlib.contextmanager
def sole_owner(settings: Settings) -> Iterator[None]:
    """Hold the state folder for as long as the block runs; Conflict if another daemon does."""
    folder = settings.state_folder
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(folder / "daemon.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as fault:
        raise SettingsFault(
            f"The state folder {folder} cannot be used: {fault.strerror}. Make it for this account,"
            " or name another one in HOPSMETER_STATE_FOLDER."
        ) from None
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(lock, 20, 0).decode().strip() or "?"
            raise Conflict(
                f"Another hopsmeterd (process {owner}) works in {folder}. Stop that one, or give"
                " this one a folder of its own in HOPSMETER_STATE_FOLDER."
            ) from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(lock)


def require_keyring_and_port(settings: Settings) -> None:
    """Look at what a start needs of this machine; SettingsFault, a sentence a line, of all faults.

    Each is met again where it is used, but there the first one would hide the others.
    """
    faults: list[str] = []
    for look in (open_keyring, open_webhook, door_of, signing_of, _free_ports):
        try:
            look(settings)
        except HopsmeterError as fault:
            faults.append(fault.message)
    if faults:
        raise SettingsFault("\n".join(faults))


def _free_ports(settings: Settings) -> None:
    bind(*settings.listen, "HOPSMETER_LISTEN").close()
    if settings.stripe_signing_file is not None:
        bind(*settings.hooks_listen, "HOPSMETER_HOOKS_LISTEN").close()


def make_deps(
    settings: Settings, database: Database, *, stored: threading.Event, beside: bool = False
) -> Deps:
    """Open the keyring, and gather what jobs stand on; SecretFault where it is missing or not private.

    `stored` is set with each stored hour; `beside`: another process works under this installation's name.
    """
    keyring = open_keyring(settings)
    name = f"{socket.gethostname()}:{settings.state_folder}"
    return Deps(
        settings=settings,
        name=f"{name} tick {os.getpid()}" if beside else name,
        version=version("hopsmeter"),
        started_at=utc_now(),
        clock=utc_now,
        keyring=keyring,
        tally=Tally(),
        url=database.url,
        collecting=Collecting(stored),
    )


def first_contact(database: Database) -> Callable[[Deps], Report]:
    """Return the first beat: the schema fits, the keyring is the right one, then our row."""

    def run(deps: Deps) -> Report:
        database.revive()
        database.require_current()
        with deps.connect("keyring") as connection:
            published = prove_keyring(connection, deps.keyring)
        heartbeat.run(deps)
        return Report({"public_key_published": deps.keyring.primary.key_id} if published else {})

    return run


def later_contact(database: Database) -> Callable[[Deps], Report]:
    """Return the beats after it: our own database runs, or is started again, then our row."""

    def run(deps: Deps) -> Report:
        database.revive()
        return heartbeat.run(deps)

    return run
