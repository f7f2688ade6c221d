"""What went wrong, as one sentence on stderr, and the exit codes.

0 done · 1 refused, failed or wrong · 2 not understood · 3 it waits for a daemon, which it cannot
where the database is the daemon's own and went with it: that is a 1
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import click
import psycopg

from core.errors import DatabaseReadOnly, HopsmeterError
from tui.format import clean

_OTHER_SCHEMA = (
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.UndefinedFunction,
    psycopg.errors.InvalidSchemaName,
)


_NO_TEXT = "What was typed holds characters that are no text."


class Told(click.ClickException):
    """Ends the program with a sentence and exit code 1."""

    def show(self, file: object = None) -> None:
        """Print every line cleaned of what a terminal would obey."""
        del file
        for line in self.message.splitlines():
            click.echo(clean(line), err=True)


class Misused(Told):
    """What was typed cannot be meant."""

    exit_code = 2


class Waits(Told):
    """The command is written down, and no daemon has finished it."""

    exit_code = 3


@contextmanager
def sentences() -> Iterator[None]:
    """Turn what this program foresaw, and what the database refuses, into a Told."""
    try:
        yield
    except HopsmeterError as fault:
        raise Told(str(fault)) from None
    except psycopg.errors.ReadOnlySqlTransaction:
        raise Told(DatabaseReadOnly().message) from None
    except psycopg.errors.InsufficientPrivilege as fault:
        raise Told(f"The database refuses this to your role: {line_of(fault)}.") from None
    except _OTHER_SCHEMA as fault:
        raise Told(
            f"The database is of another version than this program ({line_of(fault)});"
            " `hopsmeter db status` tells more."
        ) from None
    except UnicodeEncodeError as fault:
        # Text that was typed is refused on its way to UTF-8; any other encoding is the output's.
        if fault.encoding.lower().replace("-", "") == "utf8":
            raise Told(_NO_TEXT) from None
        raise Told(
            f"The output has characters that the encoding {fault.encoding} has not; set"
            " PYTHONIOENCODING=utf-8, or a locale of UTF-8."
        ) from None
    except psycopg.DataError:
        raise Told(_NO_TEXT) from None
    except psycopg.OperationalError as fault:
        raise Told(
            f"The database was lost: {line_of(fault)}. Nothing is known of the rest."
        ) from None
    except psycopg.Error as fault:
        raise Told(
            f"The database refuses this: {line_of(fault)}. `hopsmeter doctor` looks it over."
        ) from None
    except OSError as fault:
        if fault.errno != errno.ENOSPC:
            raise
        raise Told(f"The output cannot be written: {fault.strerror}.") from None


def line_of(fault: psycopg.Error) -> str:
    """Return the first line of what the database says, without its full stop."""
    return str(fault).strip().partition("\n")[0].rstrip(".") or type(fault).__name__
