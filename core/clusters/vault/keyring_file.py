"""Where the keyring stands: a systemd credential, or a file that only the daemon may read.

No environment variable and no database holds it, and without it nothing starts: a made-up default
would seal with a key that everybody knows.
"""

import errno
import os
import secrets
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from core.clusters.vault.keyring import Keyring, read_keyring
from core.clusters.vault.public_key import PublicKey
from core.errors import Conflict, SecretFault
from core.secret import Secret

CREDENTIAL_NAME = "hopsmeter-keyring"
FILE_BYTES_MAX = 64 * 1024
FILE_MODE = 0o400
_OTHERS_BITS = 0o077
_WORLD_BITS = 0o007


@dataclass(frozen=True, slots=True)
class KeyringStatus:
    """What may be told about a keyring: ids, never keys."""

    source: str
    primary_key_id: str
    older_key_ids: tuple[str, ...]
    public_key: str
    fingerprint: str


def keyring_status(keyring: Keyring) -> KeyringStatus:
    return KeyringStatus(
        source=keyring.source,
        primary_key_id=keyring.primary.key_id,
        older_key_ids=keyring.key_ids[1:],
        public_key=keyring.public_key.text,
        fingerprint=keyring.public_key.fingerprint,
    )


def load_keyring(path: Path | None, *, environ: Mapping[str, str]) -> Keyring:
    """Load the keyring from `path` if one is set, else from the systemd credential."""
    if path is not None:
        return read_keyring(_read_private(path, credential=False), source=str(path))
    folder = environ.get("CREDENTIALS_DIRECTORY")
    if folder:
        credential = Path(folder) / CREDENTIAL_NAME
        return read_keyring(_read_private(credential, credential=True), source=str(credential))
    raise SecretFault(
        "There is no keyring: neither a keyring file is set nor is there a systemd credential "
        f"{CREDENTIAL_NAME}. Make one with `hopsmeter secrets init`, and keep a copy offline."
    )


def init_keyring(path: Path) -> PublicKey:
    """Make a keyring in a new file, 0400; never over an old one, which may be the only key."""
    if not path.name:
        raise SecretFault(
            f"A keyring cannot be made at {str(path)!r}, which is a folder. Name a file in it."
        )
    keyring = Keyring.generate()
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        try:
            _write_private(draft, keyring.document())
            # A link fails where a file already is, however many try at once; a rename would win.
            os.link(draft, path)
        finally:
            draft.unlink(missing_ok=True)
        _sync_folder(path.parent)
    except FileExistsError:
        raise Conflict(
            f"{path} is already there and was left as it is: it may be the only key to what is "
            "sealed. Move it away yourself if you are sure that nothing needs it."
        ) from None
    except OSError as fault:
        raise SecretFault(
            f"The keyring {path} cannot be written: {fault.strerror}. Name a folder that exists "
            "and that you may write to."
        ) from None
    return keyring.public_key


def _read_private(path: Path, *, credential: bool) -> Secret:
    try:
        # Not blocking: a FIFO in its place must not hang the start.
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        descriptor = os.open(path, flags)
    except OSError as fault:
        raise SecretFault(_open_fault(path, fault)) from None
    try:
        wrong = _permission_fault(os.fstat(descriptor), credential=credential)
        if not wrong and not credential:
            wrong = _folder_fault(path.parent.stat())
        content = Secret(b"" if wrong else _read_all(descriptor))
    finally:
        os.close(descriptor)
    if not wrong and len(content) > FILE_BYTES_MAX:
        wrong = f"it is larger than {FILE_BYTES_MAX} bytes, so it is no keyring."
    if not wrong and not len(content):
        wrong = "it is empty. Restore it from your copy."
    if wrong:
        raise SecretFault(f"The keyring {path} is not used: {wrong}")
    return content


def _read_all(descriptor: int) -> bytes:
    """Return the file's content, one byte more than we take of one that is too large."""
    with os.fdopen(descriptor, "rb", closefd=False) as file:
        return file.read(FILE_BYTES_MAX + 1)


def _open_fault(path: Path, fault: OSError) -> str:
    if fault.errno == errno.ELOOP:
        return f"The keyring {path} is not used: it is a symbolic link. Name the file itself."
    if fault.errno == errno.ENOENT:
        return (
            f"The keyring {path} is not there. Restore it from your copy, or make the first one "
            "with `hopsmeter secrets init`."
        )
    return f"The keyring {path} cannot be opened: {fault.strerror}. Run as the user that owns it."


def _permission_fault(status: os.stat_result, *, credential: bool) -> str:
    """Say what is wrong with the file's kind, owner or mode; empty if nothing is.

    A credential belongs to root and is opened to the service by an access list, whose mask shows
    as group bits; its folder is private to the service, so the world's bits are what matters.
    """
    if not stat.S_ISREG(status.st_mode):
        return "it is no ordinary file."
    owners = {os.geteuid(), 0} if credential else {os.geteuid()}
    if status.st_uid not in owners:
        return (
            f"it belongs to user id {status.st_uid}, not to {os.geteuid()} who reads it. Set its "
            "owner with chown."
        )
    if status.st_mode & (_WORLD_BITS if credential else _OTHERS_BITS):
        return (
            f"others may read or change it (mode {stat.S_IMODE(status.st_mode):04o}). Set it to "
            "0400 with chmod, and make a new keyring if others were on the machine."
        )
    return ""


def _folder_fault(status: os.stat_result) -> str:
    if status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX:
        return (
            "others may write to its folder, and so put another file in its place. Take their "
            "write permission away with chmod."
        )
    return ""


def _write_private(path: Path, content: Secret) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    with os.fdopen(os.open(path, flags, FILE_MODE), "wb") as file:
        file.write(content.reveal())
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
