"""The command line opens at once: what writes objects or asks clusters is loaded where it is used."""

import subprocess
import sys

import pytest

from tui.cli.app import COMMANDS

MODULES = sorted({place.partition(":")[0] for place in COMMANDS.values()})
LIMIT_S = 30


@pytest.mark.parametrize("package", ["sqlmodel", "sqlalchemy", "alembic", "pydantic", "kubernetes"])
def test_no_command_loads_at_its_start(package: str, imported: frozenset[str]) -> None:
    assert package not in imported


@pytest.fixture(scope="module")
def imported() -> frozenset[str]:
    program = (
        f"import sys, {', '.join(MODULES)};"
        " print('\\n'.join({name.split('.')[0] for name in sys.modules}))"
    )
    listed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=LIMIT_S
    )
    return frozenset(listed.stdout.split())
