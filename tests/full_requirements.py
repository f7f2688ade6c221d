"""What `make test-full` needs beyond Python: says what is missing, and how to install it.

A test that skips itself where its program is missing proves nothing on the machine that matters.
"""

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Need:
    what: str
    package: str  # on Debian and Ubuntu
    present: Callable[[], bool]


def program(name: str) -> Callable[[], bool]:
    return lambda: shutil.which(name) is not None


NEEDS = (
    Need(
        "PostgreSQL 15, the oldest that hopsmeter works on",
        "postgresql-15",
        lambda: Path("/usr/lib/postgresql/15/bin/postgres").exists(),
    ),
    Need("tmux, a real terminal for the dashboard", "tmux", program("tmux")),
    Need("systemd-analyze, which checks the unit", "systemd", program("systemd-analyze")),
)


def main(arguments: list[str]) -> None:
    """Exit 1 with a sentence where something is missing; `--packages` lists all that it takes."""
    if arguments == ["--packages"]:
        sys.stdout.write(" ".join(need.package for need in NEEDS) + "\n")
        return
    missing = [need for need in NEEDS if not need.present()]
    if missing:
        lines = [f"missing: {need.what} ({need.package})" for need in missing]
        packages = " ".join(need.package for need in missing)
        sys.exit("\n".join([*lines, f"on Debian: apt-get install {packages}"]))


if __name__ == "__main__":
    main(sys.argv[1:])
