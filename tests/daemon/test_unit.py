import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from core.db.embedded import QUIT_LIMIT_S
from core.db.embedded import STOP_LIMIT_S as DATABASE_STOP_LIMIT_S
from core.settings import KEYRING_CREDENTIAL, URL_CREDENTIAL
from daemon.contact import BEAT_AGE_MAX_S
from daemon.runner import CUT_LIMIT_S
from daemon.service import FAREWELL_LIMIT_S, STOP_LIMIT_S

UNIT = Path(__file__).resolve().parents[2] / "systemd" / "hopsmeterd.service"
EXPOSURE_MAX = 20
"""In tenths of systemd's scale, where a bare unit has 96."""
LIMIT_S = 60


def value(name: str) -> str:
    found = re.search(rf"^{name}=(.*)$", UNIT.read_text(), re.MULTILINE)
    assert found, f"{name} is not in the unit"
    return found[1]


def seconds(name: str) -> int:
    number, unit = re.fullmatch(r"(\d+)(s|min)", value(name)).groups()  # type: ignore[union-attr]  # a bad value shall fail
    return int(number) * {"s": 1, "min": 60}[unit]


def test_systemd_waits_longer_than_a_stop_takes() -> None:
    stop_s = (
        STOP_LIMIT_S + CUT_LIMIT_S + FAREWELL_LIMIT_S + DATABASE_STOP_LIMIT_S + 2 * QUIT_LIMIT_S
    )
    assert stop_s < seconds("TimeoutStopSec")


def test_the_watchdog_is_more_patient_than_the_daemon_with_itself() -> None:
    assert seconds("WatchdogSec") > BEAT_AGE_MAX_S


def test_the_unit_and_the_settings_name_the_same_credentials() -> None:
    text = UNIT.read_text()
    assert f"LoadCredentialEncrypted={KEYRING_CREDENTIAL}:" in text
    assert f"LoadCredentialEncrypted={URL_CREDENTIAL}:" in text


def test_the_user_has_a_name_that_the_database_can_know() -> None:
    assert value("User") == "hopsmeter"
    assert "PrivateUsers=yes" not in UNIT.read_text()
    assert "DynamicUser" not in UNIT.read_text()


def test_no_core_dump_writes_keys_to_the_disk() -> None:
    assert value("LimitCORE") == "0"


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("systemd-analyze")
    assert program, "systemd-analyze is missing; on Debian: apt-get install systemd"
    return subprocess.run(
        [program, *arguments], capture_output=True, text=True, timeout=LIMIT_S, check=False
    )


@pytest.mark.full
def test_systemd_understands_every_line_of_the_unit(tmp_path: Path) -> None:
    staged = tmp_path / UNIT.name
    staged.write_text(
        re.sub(r"(?<==)/opt/hopsmeter/bin/hopsmeterd", sys.executable, UNIT.read_text())
    )
    done = analyze("verify", "--recursive-errors=no", str(staged))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.full
def test_the_unit_exposes_little() -> None:
    done = analyze(
        "security", "--offline=true", f"--threshold={EXPOSURE_MAX}", "--no-pager", str(UNIT)
    )
    assert done.returncode == 0, done.stdout
