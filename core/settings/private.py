"""A secret out of a file that nobody else may read."""

import stat
from pathlib import Path

from core.errors import SettingsFault
from core.secret import Secret, bare_refusals

_FILE_BYTES_MAX = 4096


@bare_refusals
def read_private_file(path: Path, what: str, *, private: bool) -> Secret:
    """Return what the file holds; SettingsFault where others may read it, or it is too large.

    `what` begins the sentence of a fault. `private` is False for a credential of systemd's: what it
    hands over is as private as it can be, whatever its mode.
    """
    try:
        mode = path.stat().st_mode
        with path.open("rb") as file:
            content = Secret(file.read(_FILE_BYTES_MAX + 1))
    except OSError as fault:
        raise SettingsFault(f"{what} {path} cannot be read: {fault.strerror}.") from None
    if private and (not stat.S_ISREG(mode) or mode & 0o077):
        raise SettingsFault(
            f"{what} {path} may be read by others (mode {stat.S_IMODE(mode):04o});"
            f" run: chmod 0400 {path}"
        )
    if len(content) > _FILE_BYTES_MAX:
        raise SettingsFault(f"{what} {path} is larger than {_FILE_BYTES_MAX} bytes.")
    return content
