"""The three streams, one of which may be closed: Python then has None in its place."""

import os
import sys
from pathlib import Path
from typing import Final

from tui.cli.failing import Told

_NOTHING: Final = Path(os.devnull)


def open_streams() -> None:
    """Put nothing in the place of a closed stdin or stderr; end where there is no stdout.

    In the order of their numbers: what is opened gets the lowest that is free, and the first file or
    socket of ours would else take what is said to a person.
    """
    if sys.stdin is None:
        sys.stdin = _NOTHING.open(encoding="utf-8")
    closed = sys.stdout is None
    if closed:
        sys.stdout = _NOTHING.open("w", encoding="utf-8")
    if sys.stderr is None:
        sys.stderr = _NOTHING.open("w", encoding="utf-8")
    if closed:
        # Before anything is done: what was done and not told of is done again.
        fault = Told("The output cannot be written: it is closed.")
        fault.show()
        sys.exit(fault.exit_code)
