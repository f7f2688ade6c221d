import errno
import os
import pwd
import re
import socket
import tomllib
from pathlib import Path
from urllib.parse import quote

import pytest

from core import settings
from core.errors import DatabaseFault, SettingsFault
from core.settings import OPTIONS, client_url, describe, load

URL = "postgresql://hopsmeter@db.example/books"
URL_WITH_PASSWORD = "postgresql://hopsmeter:pa55word@db.example/books"


@pytest.fixture(autouse=True)
def _no_file_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(settings, "CONFIG_DEFAULT", tmp_path / "absent.toml")


def faults_of(environment: dict[str, str], config: Path | None = None) -> list[str]:
    with pytest.raises(SettingsFault) as caught:
        load(environment, config)
    return caught.value.message.splitlines()


def test_defaults_alone_are_enough_to_start() -> None:
    read = load({})
    assert read.own_database
    assert read.listen == ("127.0.0.1", 9480)
    assert set(read.sources) == set(OPTIONS)
    assert set(read.sources.values()) == {"default"}
    assert len(OPTIONS) <= 24


def test_each_setting_has_a_sentence() -> None:
    assert [name for name, entry in OPTIONS.items() if not entry.sentence.endswith(".")] == []


def test_the_environment_outranks_the_file_and_both_are_named(tmp_path: Path) -> None:
    config = tmp_path / "hopsmeter.toml"
    config.write_text('collect_parallel = 3\nsettle_hours = 48\nlog_level = "warning"\n')
    read = load({"HOPSMETER_COLLECT_PARALLEL": "7"}, config)
    assert (read.collect_parallel, read.settle_hours, read.log_level) == (7, 48, "warning")
    assert read.sources["collect_parallel"] == "environment, HOPSMETER_COLLECT_PARALLEL"
    assert read.sources["settle_hours"] == f"file, {config}"


def test_a_file_may_be_named_by_the_environment(tmp_path: Path) -> None:
    config = tmp_path / "mine.toml"
    config.write_text("settle_hours = 30\n")
    assert load({"HOPSMETER_CONFIG": str(config)}).settle_hours == 30


def test_all_faults_are_told_together_each_with_its_name(tmp_path: Path) -> None:
    config = tmp_path / "hopsmeter.toml"
    config.write_text('settle_hours = "soon"\nlog_levle = "info"\nraw_keep_days = true\n')
    found = faults_of(
        {
            "HOPSMETER_LISTEN": "0.0.0.0:9480",
            "HOPSMETER_COLLECT_PARALEL": "4",
            "HOPSMETER_COLLECT_DELAY_MINUTES": "0",
        },
        config,
    )
    assert found == [
        (
            "HOPSMETER_COLLECT_PARALEL (environment) is no setting; did you mean"
            " HOPSMETER_COLLECT_PARALLEL?; correct or unset it."
        ),
        f"log_levle ({config}) is no setting; did you mean log_level?; correct or remove it.",
        (
            "HOPSMETER_LISTEN (environment) must be a loopback address such as 127.0.0.1, and is"
            " '0.0.0.0:9480'; put a proxy in front where it must be reached from elsewhere."
        ),
        (
            "HOPSMETER_COLLECT_DELAY_MINUTES (environment) must be a whole number from 1 to 59, and is"
            " '0'."
        ),
        f"settle_hours ({config}) must be a whole number from 1 to 168, and is 'soon'.",
        f"raw_keep_days ({config}) must be a whole number from 2 to 3650, and is True.",
    ]


def test_a_lease_that_ends_before_an_answer_may_come_is_told_with_the_other_faults(
    tmp_path: Path,
) -> None:
    config = tmp_path / "hopsmeter.toml"
    config.write_text("lease_s = 149\n")
    assert faults_of({"HOPSMETER_LOG_LEVEL": "loud"}, config) == [
        (
            "HOPSMETER_LOG_LEVEL (environment) must be one of debug, info, warning, error, and is"
            " 'loud'."
        ),
        (
            f"lease_s ({config}) must exceed answer_timeout_s, which is 120, by at least 30, and is"
            " 149; make it 150 or more, or answer_timeout_s shorter."
        ),
    ]
    assert load({"HOPSMETER_ANSWER_TIMEOUT_S": "119"}, config).lease_s == 149


@pytest.mark.parametrize("given", ["34", "86401", "ten minutes"])
def test_a_lease_is_at_most_a_day_and_never_shorter_than_any_answer(given: str) -> None:
    (fault,) = faults_of({"HOPSMETER_LEASE_S": given, "HOPSMETER_ANSWER_TIMEOUT_S": "5"})
    assert fault == (
        f"HOPSMETER_LEASE_S (environment) must be a whole number from 35 to 86400, and is {given!r}."
    )


def test_the_default_lease_is_long_enough_for_the_longest_answer() -> None:
    assert load({"HOPSMETER_ANSWER_TIMEOUT_S": "300"}).lease_s == 600


@pytest.mark.parametrize(
    ("content", "wrong"),
    [("settle_hours = \n", "cannot be understood"), ("[a]\n[a]\n", "cannot be understood")],
)
def test_a_file_that_is_no_toml_is_named(tmp_path: Path, content: str, wrong: str) -> None:
    config = tmp_path / "hopsmeter.toml"
    config.write_text(content)
    with pytest.raises(tomllib.TOMLDecodeError):
        tomllib.loads(content)
    (fault,) = faults_of({}, config)
    assert str(config) in fault
    assert wrong in fault


def test_a_file_that_was_asked_for_must_be_there(tmp_path: Path) -> None:
    (fault,) = faults_of({}, tmp_path / "gone.toml")
    assert "No such file" in fault


def test_a_password_in_environment_or_file_is_refused_and_not_repeated(tmp_path: Path) -> None:
    config = tmp_path / "hopsmeter.toml"
    config.write_text(f'database_url = "{URL_WITH_PASSWORD}"\n')
    for found in (faults_of({"HOPSMETER_DATABASE_URL": URL_WITH_PASSWORD}), faults_of({}, config)):
        assert "HOPSMETER_DATABASE_URL_FILE" in found[0]
        assert "pa55word" not in found[0]


def test_a_malformed_url_is_refused_without_repeating_it() -> None:
    (fault,) = faults_of({"HOPSMETER_DATABASE_URL": "postgres//x:pa55word@h"})
    assert "is no database URL" in fault
    assert "pa55word" not in fault


def test_a_password_comes_by_a_private_file_and_is_never_shown(tmp_path: Path) -> None:
    secret = tmp_path / "url"
    secret.write_text(URL_WITH_PASSWORD + "\n")
    secret.chmod(0o400)
    read = load({"HOPSMETER_DATABASE_URL_FILE": str(secret)})
    assert read.database_url == URL_WITH_PASSWORD
    assert client_url(read) == URL_WITH_PASSWORD
    shown = repr(read) + "".join(line.value for line in describe(read))
    assert "pa55word" not in shown
    assert "***" in shown


def test_a_secret_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    secret = tmp_path / "url"
    secret.write_text(URL)
    secret.chmod(0o644)
    (fault,) = faults_of({"HOPSMETER_DATABASE_URL_FILE": str(secret)})
    assert f"chmod 0400 {secret}" in fault


def test_a_database_that_is_given_twice_is_a_fault(tmp_path: Path) -> None:
    secret = tmp_path / "url"
    secret.write_text(URL)
    secret.chmod(0o400)
    (fault,) = faults_of(
        {"HOPSMETER_DATABASE_URL_FILE": str(secret), "HOPSMETER_DATABASE_URL": URL}
    )
    assert "both set" in fault


def test_credentials_of_systemd_are_found_by_their_name(tmp_path: Path) -> None:
    (tmp_path / "hopsmeter-keyring").write_text("{}")
    (tmp_path / "hopsmeter-database-url").write_text(URL_WITH_PASSWORD)
    read = load({"CREDENTIALS_DIRECTORY": str(tmp_path), "STATE_DIRECTORY": "/var/lib/a:/b"})
    assert read.keyring_is_credential
    assert read.keyring_path == tmp_path / "hopsmeter-keyring"
    assert read.database_url == URL_WITH_PASSWORD
    assert read.state_folder == Path("/var/lib/a")
    assert read.sources["state_folder"] == "systemd, STATE_DIRECTORY"


def test_without_a_credential_the_keyring_stands_in_the_state_folder(tmp_path: Path) -> None:
    read = load({"HOPSMETER_STATE_FOLDER": str(tmp_path)})
    assert read.keyring_path == tmp_path / "keyring"
    assert not read.keyring_is_credential


def test_a_client_finds_the_daemons_own_database(tmp_path: Path) -> None:
    read = load({"HOPSMETER_STATE_FOLDER": str(tmp_path)})
    with pytest.raises(DatabaseFault, match="hopsmeterd run"):
        client_url(read)
    read.url_path.write_text(URL + "\n")
    assert client_url(read) == URL


def test_a_database_that_went_with_a_killed_daemon_is_started_by_the_next(tmp_path: Path) -> None:
    read = load({"HOPSMETER_STATE_FOLDER": str(tmp_path)})
    url = f"postgresql://hopsmeter@/hopsmeter?host={quote(str(tmp_path), safe='')}&port=5433"
    read.url_path.write_text(url + "\n")
    with pytest.raises(DatabaseFault, match=r"nobody listens.*Start `hopsmeterd run`"):
        client_url(read)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / ".s.PGSQL.5433"))
        with pytest.raises(DatabaseFault, match=r"nobody listens.*Start `hopsmeterd run`"):
            client_url(read)
        server.listen()
        assert client_url(read) == url


def test_loopback_of_the_sixth_version_is_taken() -> None:
    assert load({"HOPSMETER_LISTEN": "[::1]:9480"}).listen == ("::1", 9480)


def test_the_page_on_installing_names_every_setting_and_no_other() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "install.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert sorted(rows) == sorted(OPTIONS)


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("state_folder", errno.ENAMETOOLONG),
        ("postgres_bin", errno.ENAMETOOLONG),
        ("postgres_bin", errno.EACCES),
    ],
)
def test_a_folder_that_cannot_be_looked_at_is_named_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, number: int
) -> None:
    folder = tmp_path / ("d" * 300)
    if number == errno.EACCES:  # root may look everywhere, so the refusal is played
        folder = tmp_path / "closed" / "in"
        refuse_below(monkeypatch, folder.parent)
    variable = f"HOPSMETER_{name.upper()}"
    (fault,) = faults_of({variable: str(folder)})
    assert fault.startswith(f"{variable} (environment) names {folder}")
    assert fault.endswith(f"which cannot be looked at: {os.strerror(number)}.")


def test_a_state_folder_that_is_closed_to_this_account_keeps_nobody_from_a_given_database(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    refuse_below(monkeypatch, tmp_path / "closed")
    folder = tmp_path / "closed" / "state"
    around = {"HOPSMETER_STATE_FOLDER": str(folder), "HOPSMETER_DATABASE_URL": URL}
    assert load(around).state_folder == folder


def test_credentials_that_cannot_be_looked_at_are_one_fault(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "closed"
    refuse_below(monkeypatch, folder)
    (fault,) = faults_of({"CREDENTIALS_DIRECTORY": str(folder)})
    assert fault.startswith(f"CREDENTIALS_DIRECTORY (environment) names {folder}")
    assert os.strerror(errno.EACCES) in fault


def test_an_account_without_a_home_is_asked_for_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: {}[uid])
    (fault,) = faults_of({})
    assert "has no home" in fault
    assert "HOPSMETER_STATE_FOLDER" in fault


def test_a_file_of_settings_that_is_nested_without_end_is_a_sentence(tmp_path: Path) -> None:
    config = tmp_path / "deep.toml"
    config.write_text("listen = " + "[" * 20_000)
    (fault,) = faults_of({}, config)
    assert fault == f"The settings file {config} cannot be understood: it is nested too deeply."


def test_a_pipe_in_place_of_the_file_of_settings_is_refused_without_waiting(tmp_path: Path) -> None:
    config = tmp_path / "pipe"
    os.mkfifo(config)
    (fault,) = faults_of({}, config)
    assert fault == f"The settings file {config} cannot be read: it is no file."


def refuse_below(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let nobody look into a folder, as the system does with other accounts."""
    look = Path.stat

    def stat(self: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        if folder in self.parents:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))
        return look(self, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(Path, "stat", stat)
