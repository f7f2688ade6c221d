"""The program itself, in a process of its own: what it loads, how it draws, how it ends."""

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.clock import monotonic_s, utc_now
from tests.core.commands.carrier import with_admin
from tests.database import Connection, Database
from tests.factories import add_cluster, add_daemon

LIMIT_S = 30


def hopsmeter(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tui", *words],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
        env={**os.environ, **environment},
    )


def test_a_list_is_plain_in_a_pipe_and_never_cut(database: Database) -> None:
    name = "a-cluster-with-quite-a-long-name-that-no-narrow-table-would-hold"[:63]
    add_cluster(database.connect(), name, last_outcome="word " * 60)
    told = hopsmeter("cluster", "list", HOPSMETER_DATABASE_URL=database.url)
    assert told.returncode == 0, told.stderr
    assert "\x1b" not in told.stdout
    assert f"{name}  " in told.stdout
    assert ("word " * 60).rstrip() in told.stdout


def test_a_database_that_is_away_is_a_sentence(tmp_path: object) -> None:
    told = hopsmeter("cluster", "list", HOPSMETER_DATABASE_URL=f"postgresql:///x?host={tmp_path}")
    assert told.returncode == 1
    assert told.stderr.startswith("database x at ")
    assert told.stderr.count("\n") == 1


def test_a_narrow_terminal_cuts_no_name_and_no_figure(tmp_path: Path) -> None:
    answer = tmp_path / "answer.json"
    window = {"start": "2026-03-01T14:00:00Z", "end": "2026-03-01T15:00:00Z"}
    row = {"cpuCost": -3456.78912, "ramCost": 1, "totalCost": -3455.78912, "minutes": 60}
    name = "a-namespace-with-quite-a-long-name"
    rows = {f"eu-1/{name}": {**row, "window": window}}
    answer.write_text(json.dumps({"code": 200, "data": [rows]}))
    ours, theirs = pty.openpty()
    words = ["opencost", "read", str(answer), "--sentinel", ""]
    with subprocess.Popen(
        [sys.executable, "-m", "tui", *words],
        stdout=theirs,
        env={**os.environ, "COLUMNS": "60", "TERM": "xterm", "NO_COLOR": "1"},
    ) as program:
        os.close(theirs)
        drawn = b""
        with contextlib.suppress(OSError):  # the end of a terminal is an error
            while more := os.read(ours, 65536):
                drawn += more
    os.close(ours)
    assert program.returncode == 0
    line = next(each for each in drawn.decode().splitlines() if name in each)
    assert "\x1b[3" not in line
    figures = line.replace("\N{NARROW NO-BREAK SPACE}", "").split()
    assert figures == [
        name,
        "60",
        "-3456.78912",
        "0",
        "1.00000",
        "0",
        "0",
        "-3455.78912",
        "negative-cost",
    ]


def test_bytes_that_are_no_text_are_a_sentence(database: Database) -> None:
    with_admin(database)
    for words in (["user", "show", "a\udcff"], ["user", "add", "auth0|a\udcff", "a@example.test"]):
        told = hopsmeter(*words, HOPSMETER_DATABASE_URL=database.url)
        assert told.returncode == 1
        assert told.stderr == "What was typed holds characters that are no text.\n"


@pytest.fixture
def _interruptible() -> Iterator[None]:
    """What a script runs in the background ignores ^C, and all that this starts would as well."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def until_it_waits(connection: Connection) -> None:
    """See the command's client read what became of it: between the INSERT and that, ^C is another."""
    asked = (
        "SELECT FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle'"
        " AND pid <> pg_backend_pid() AND query LIKE 'SELECT state, result%'"
    )
    deadline_s = monotonic_s() + LIMIT_S
    while not connection.execute(asked).rowcount:
        assert monotonic_s() < deadline_s
        time.sleep(0.05)


@pytest.mark.usefixtures("_interruptible")
def test_leaving_while_it_waits_says_that_it_goes_on(database: Database) -> None:
    add_daemon(with_admin(database), seen_at=utc_now())
    with subprocess.Popen(
        [sys.executable, "-m", "tui", "collect"],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "HOPSMETER_DATABASE_URL": database.url},
    ) as waiting:
        try:
            until_it_waits(database.connect())
            waiting.send_signal(signal.SIGINT)
            _, said = waiting.communicate(timeout=LIMIT_S)
        finally:
            waiting.kill()  # where it did not leave, or it would be waited for for a minute
    assert (waiting.returncode, said) == (3, "Command 1 goes on without you.\n")


@pytest.mark.parametrize("form", ["--json", "--csv"])
def test_a_full_disk_is_a_sentence(database: Database, form: str) -> None:
    with Path("/dev/full").open("w") as full:
        told = subprocess.run(
            [sys.executable, "-m", "tui", "rates", "list", form],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=LIMIT_S,
            env={**os.environ, "HOPSMETER_DATABASE_URL": database.url},
            check=False,
        )
    assert told.returncode == 1
    assert told.stderr == "The output cannot be written: No space left on device.\n"


@pytest.mark.parametrize("words", [["--help"], ["cluster", "list", "--help"], ["--version"]])
def test_help_loads_no_screen_and_no_client(words: list[str]) -> None:
    code = (
        "import sys\nfrom tui.__main__ import main\nsys.argv[1:] = sys.argv[1:]\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "loaded = {'textual', 'kubernetes', 'sqlalchemy', 'alembic', 'stripe', 'numpy'}\n"
        "print(sorted(loaded & set(sys.modules)), file=sys.stderr)"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, *words],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=True,
    )
    assert told.stderr.strip() == "[]"


def shell(line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a line of a shell, in which `hopsmeter` is the program."""
    return subprocess.run(
        ["/bin/sh", "-c", f'hopsmeter() {{ "{sys.executable}" -m tui "$@"; }}; {line}'],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("hopsmeter <&-", 2, "The dashboard needs a terminal"),
        ("hopsmeter opencost read - <&-", 1, "nothing at all"),
        ("hopsmeter cluster add eu-1 --kubeconfig - --api-url https://a.test <&-", 1, ""),
        ("hopsmeter doctor --paths >&-", 1, "The output cannot be written: it is closed."),
        (
            "hopsmeter --help >/dev/full",
            1,
            "The output cannot be written: No space left on device.",
        ),
        ("hopsmeter db --help >/dev/full", 1, "The output cannot be written: No space left"),
        ("hopsmeter --version >/dev/full", 1, "The output cannot be written: No space left"),
    ],
)
def test_a_closed_or_full_descriptor_is_a_sentence(
    database: Database, line: str, code: int, said: str
) -> None:
    with_admin(database)
    told = shell(line, HOPSMETER_DATABASE_URL=database.url)
    assert said in told.stderr
    assert told.returncode == code
    assert told.stderr.count("\n") == 1


def test_closed_errors_keep_nobody_from_the_output(database: Database) -> None:
    told = shell("hopsmeter cluster list 2>&-", HOPSMETER_DATABASE_URL=database.url)
    assert (told.returncode, told.stderr) == (0, "")
    assert "No cluster" in told.stdout


def test_an_encoding_too_narrow_for_the_output_is_named(tmp_path: Path) -> None:
    told = hopsmeter("doctor", HOPSMETER_STATE_FOLDER=str(tmp_path), PYTHONIOENCODING="latin-1")
    assert told.returncode == 1
    assert told.stderr == (
        "The output has characters that the encoding latin-1 has not; set PYTHONIOENCODING=utf-8,"
        " or a locale of UTF-8.\n"
    )


def test_a_terminal_that_tells_no_width_is_taken_for_one_of_eighty(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    try:
        told = subprocess.run(
            [sys.executable, "-m", "tui", "doctor", "--paths"],
            stdout=theirs,
            stderr=subprocess.PIPE,
            text=True,
            timeout=LIMIT_S,
            check=False,
            env={**os.environ, "COLUMNS": "0", "HOPSMETER_STATE_FOLDER": str(tmp_path)},
        )
    finally:
        os.close(theirs)
        os.close(ours)
    assert (told.returncode, told.stderr) == (0, "")


def test_left_while_it_loads_it_ends_without_a_word() -> None:
    code = (
        "import sys\nfrom tui.__main__ import main\n"
        "class Impatient:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'click':\n            raise KeyboardInterrupt\n"
        "sys.modules.pop('click', None)\nsys.meta_path.insert(0, Impatient())\nmain()"
    )
    told = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert (told.returncode, told.stdout, told.stderr) == (130, "", "")
