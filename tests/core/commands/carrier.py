"""A real daemon's side for tests: a thread that listens, and carries out what is submitted."""

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from datetime import datetime

from core.billing.stripe.shop import Shop
from core.clusters.connection.access import CheckStep, ClusterAccess
from core.clusters.keys import prove_keyring
from core.clusters.vault import Keyring, Secret
from core.commands.arguments import ARGUMENTS, read_arguments
from core.commands.carry_out import Carried, carry_out
from core.commands.kinds import Works
from core.commands.submit import Outcome, submit, wait
from core.db import notify
from core.db.connect import connect
from core.db.roles import DAEMON, ensure_roles
from core.metering.checkup import Patient
from tests.core.clusters.kubeconfigs import kubeconfig
from tests.database import Connection, Database
from tests.factories import NOW

HEAR_S = 0.2
JOIN_S = 20.0
STEPS = [
    CheckStep("tls", "ok", "TLS 1.3"),
    CheckStep("permission", "fail", "pods/exec is forbidden", "Add the rule."),
]


def works(
    keyring: Keyring, clock: Callable[[], datetime] = lambda: NOW, shop: Shop | None = None
) -> Works:
    def check(access: ClusterAccess, of: Patient) -> list[CheckStep]:
        assert access.kubeconfig.reveal()
        assert of.name == access.cluster
        return STEPS

    return Works(keyring=keyring, check_cluster=check, clock=clock, stripe=shop or Shop())


@contextlib.contextmanager
def carrying(
    database: Database,
    keyring: Keyring,
    role: str = "",
    shop: Shop | None = None,
    clock: Callable[[], datetime] = lambda: NOW,
) -> Iterator[list[Carried]]:
    """Carry commands out beside the test, quick and slow; yield what ended until now."""
    carried: list[Carried] = []
    stop = threading.Event()
    ready = threading.Event()
    url = database.url_for(role) if role else database.url

    def work() -> None:
        with connect(url, name="carrier") as connection:
            notify.listen(connection, notify.COMMANDS)
            ready.set()
            while not stop.is_set():
                for lane in ("quick", "slow"):
                    carried.extend(
                        carry_out(connection, works(keyring, clock, shop=shop), lane=lane)
                    )
                notify.wait(connection, HEAR_S)

    thread = threading.Thread(target=work)
    thread.start()
    assert ready.wait(JOIN_S)
    try:
        yield carried
    finally:
        stop.set()
        thread.join(JOIN_S)
        assert not thread.is_alive()


def ask(
    connection: Connection, name: str, *, why: str = "", dry_run: bool = False, **given: object
) -> int:
    """Submit a command by name; `sealed` among what is given goes beside its arguments."""
    sealed = given.pop("sealed", None)
    key = given.pop("key", None)
    arguments = read_arguments(name, given)
    assert type(arguments) is ARGUMENTS[name]
    return submit(connection, name, arguments, why=why, dry_run=dry_run, sealed=sealed, key=key)  # type: ignore[arg-type]  # the test gives what belongs there


def asked(
    connection: Connection, name: str, *, why: str = "", dry_run: bool = False, **given: object
) -> Outcome:
    return wait(connection, ask(connection, name, why=why, dry_run=dry_run, **given), JOIN_S)


def config(server: str = "https://api.eu-1.example.com:6443") -> Secret:
    return Secret(json.dumps(kubeconfig(cluster={"server": server})))


def with_admin(database: Database) -> Connection:
    """Let whoever owns the database be an admin, and return a connection as that one."""
    connection = database.connect()
    connection.execute(
        "INSERT INTO hopsmeter.users (id, email, is_admin) VALUES ('auth0|boss', 'boss@example.test', true)"
    )
    connection.execute(
        "INSERT INTO hopsmeter.logins (role, user_id) VALUES (session_user, 'auth0|boss')"
    )
    return connection


def publish(database: Database) -> Keyring:
    """Make a keyring and its public key known, as a daemon does at its start."""
    keyring = Keyring.generate()
    prove_keyring(database.connect(), keyring)
    return keyring


def set_up_roles(database: Database) -> str:
    """Give the roles their rights; return the daemon's."""
    ensure_roles(database.connect())
    return DAEMON
