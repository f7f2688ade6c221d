"""The dashboard starts fast because of what it leaves alone."""

import subprocess
import sys

import pytest

HEAVY = (
    "sqlmodel", "sqlalchemy", "alembic", "pydantic", "kubernetes", "stripe", "httpx",
    "cryptography", "click", "cairosvg", "starlette",
)  # fmt: skip
LIMIT_S = 30


@pytest.mark.parametrize("package", HEAVY)
def test_the_dashboard_does_not_import(package: str, imported: frozenset[str]) -> None:
    assert package not in imported


@pytest.fixture(scope="module")
def imported() -> frozenset[str]:
    program = "import sys, tui.app; print('\\n'.join({name.split('.')[0] for name in sys.modules}))"
    listed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=LIMIT_S
    )
    return frozenset(listed.stdout.split())
