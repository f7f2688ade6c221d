"""A secret pasted with a trailing newline broke login for days."""

from pathlib import Path

import pytest

from core.errors import SettingsFault
from core.settings import OPTIONS, load

PASTED = "postgresql://hopsmeter@db.example/books"
NOISE = {
    "\n": "ends with a newline",
    "\r\n": "ends with a newline",
    "\r": "ends with a carriage return",
    " ": "ends with a space",
    "\t": "ends with a tab",
    "\u00a0": "ends with U+00A0 (no-break space)",
    "\u200b": "holds U+200B (zero width space)",
    "\ufeff": "holds U+FEFF (zero width no-break space)",
}


@pytest.mark.parametrize("noise", NOISE)
def test_each_setting_names_what_a_paste_brought_along(noise: str) -> None:
    environment = {f"HOPSMETER_{name.upper()}": f"1{noise}" for name in OPTIONS}
    with pytest.raises(SettingsFault) as caught:
        load(environment)
    for name in OPTIONS:
        assert f"HOPSMETER_{name.upper()} (environment) {NOISE[noise]}" in caught.value.message


@pytest.mark.parametrize("noise", [each for each in NOISE if each != "\n"])
def test_a_secret_file_with_more_than_its_last_newline_is_named(tmp_path: Path, noise: str) -> None:
    secret = tmp_path / "url"
    secret.write_bytes((PASTED + noise + "\n").encode())
    secret.chmod(0o400)
    with pytest.raises(
        SettingsFault, match=r"HOPSMETER_DATABASE_URL_FILE .* whose text (ends|hold)"
    ):
        load({"HOPSMETER_DATABASE_URL_FILE": str(secret)})


def test_the_one_newline_of_an_editor_is_no_part_of_the_secret(tmp_path: Path) -> None:
    secret = tmp_path / "url"
    secret.write_text(PASTED + "\n")
    secret.chmod(0o400)
    assert load({"HOPSMETER_DATABASE_URL_FILE": str(secret)}).database_url == PASTED
