"""LISTEN, and waiting for what is told. A notice only says "look now"; the rows say what is due."""

from typing import Any, LiteralString

import psycopg
from psycopg import sql

COMMANDS = "hopsmeter_commands"
ENDED = "hopsmeter_ended"


def listen(connection: psycopg.Connection[Any], channel: LiteralString) -> None:
    """Begin to listen; look at the rows after this, since what came before was told to nobody."""
    assert connection.autocommit, "inside a transaction nothing is heard"
    connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))


def wait(connection: psycopg.Connection[Any], timeout_s: float) -> list[str]:
    """Return what was told on the way or within `timeout_s`, empty if nothing was.

    Raises psycopg.OperationalError where the connection is lost.
    """
    return [notice.payload for notice in connection.notifies(timeout=timeout_s, stop_after=1)]
