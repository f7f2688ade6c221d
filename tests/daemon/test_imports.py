"""A daemon starts fast because of what it leaves to the first command that needs it."""

import subprocess
import sys

import pytest

HEAVY = ("sqlmodel", "sqlalchemy", "alembic", "pydantic", "kubernetes")
LIMIT_S = 30


@pytest.mark.parametrize("package", HEAVY)
def test_the_daemon_starts_without(package: str, imported: frozenset[str]) -> None:
    assert package not in imported


@pytest.fixture(scope="module")
def imported() -> frozenset[str]:
    program = (
        "import sys, daemon.__main__;"
        " print('\\n'.join({name.split('.')[0] for name in sys.modules}))"
    )
    listed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=LIMIT_S
    )
    return frozenset(listed.stdout.split())
