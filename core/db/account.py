"""The account that the embedded server runs as: ours, or as root somebody without rights."""

import os
import pwd
from dataclasses import dataclass
from pathlib import Path

from core.errors import DatabaseFault

UNPRIVILEGED = "nobody"


@dataclass(frozen=True)
class Account:
    """`login` is who starts the server, `dropped` says that it runs as somebody else."""

    uid: int
    gid: int
    login: str
    dropped: bool

    def make_folder(self, folder: Path) -> None:
        """Make a folder that this account owns and nobody else enters."""
        folder.mkdir(mode=0o700, exist_ok=True)
        self.give(folder)

    def give(self, folder: Path) -> None:
        if self.dropped:
            os.chown(folder, self.uid, self.gid, follow_symlinks=False)


def server_account(data: Path) -> Account:
    """Return who runs the server: we, but as root the owner of the data, or `nobody` at first.

    PostgreSQL refuses to run as root, and to run without a name in the list of users.
    """
    uid = os.geteuid()
    try:
        login = pwd.getpwuid(uid).pw_name
        if uid != 0:
            return Account(uid, os.getegid(), login, dropped=False)
        owner = pwd.getpwuid(data.stat().st_uid) if data.exists() else None
        entry = owner if owner is not None and owner.pw_uid != 0 else pwd.getpwnam(UNPRIVILEGED)
    except KeyError as fault:
        raise DatabaseFault(
            f"PostgreSQL needs an account with a name ({fault.args[0]}); add one to the list of "
            "users, or set HOPSMETER_DATABASE_URL to a server."
        ) from None
    return Account(entry.pw_uid, entry.pw_gid, login, dropped=True)
