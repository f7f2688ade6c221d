"""Whether the daemon's own PostgreSQL listens where the daemon once wrote that it would."""

import socket
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

PROBE_S = 5.0


def listens(url: str) -> bool:
    """Knock at the socket that a URL names; True too where only a real login can tell.

    A daemon that was killed takes its server along but not the file with the URL.
    """
    query = parse_qs(urlsplit(url).query)
    (folder,), (port,) = query.get("host", [""]), query.get("port", ["5432"])
    if not folder.startswith("/"):
        return True
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(PROBE_S)
        try:
            probe.connect(str(Path(folder) / f".s.PGSQL.{port}"))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except OSError:
            return True
    return True
