import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from daemon import log

SECRETS = (
    ("it failed for postgresql://hopsmeter:pa55word@db.example/books today", "pa55word"),
    ("host=db.example password=pa55word dbname=books", "pa55word"),
    ("host=db.example password = 'pa55 word' dbname=books", "pa55 word"),
    ("Authorization: Bearer eyJhbGciOiJSUzI1NiJ9.abc", "eyJhbGciOiJSUzI1NiJ9"),
    ("-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\n-----END EC PRIVATE KEY-----", "MHcCAQEE"),
)


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    stream = io.StringIO()
    yield stream
    root.handlers[:] = before
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_pipe_gets_json_and_libraries_are_folded_in(written: io.StringIO) -> None:
    log.configure("auto", "info", written)
    log.get("job").info("hour collected", cluster="eu-1", cost_nano=41)
    logging.getLogger("somebody.else").warning("it is %s", "late")
    ours, theirs = lines(written)
    assert (ours["event"], ours["cluster"], ours["level"]) == ("hour collected", "eu-1", "info")
    assert (theirs["event"], theirs["logger"]) == ("it is late", "somebody.else")


def test_libraries_stay_quiet_unless_a_fault_is_looked_for(written: io.StringIO) -> None:
    log.configure("json", "info", written)
    logging.getLogger("urllib3").info("a request")
    assert lines(written) == []
    log.configure("json", "debug", written)
    logging.getLogger("urllib3").debug("a request")
    assert len(lines(written)) == 1


def test_a_person_gets_text_and_not_json(written: io.StringIO) -> None:
    log.configure("human", "info", written)
    log.get("job").info("hour collected", cluster="eu-1")
    assert "hour collected" in written.getvalue()
    assert not written.getvalue().startswith("{")


@pytest.mark.parametrize(("text", "secret"), SECRETS)
@pytest.mark.parametrize("form", ["json", "human"])
def test_what_looks_like_a_secret_is_never_written(
    written: io.StringIO, form: str, text: str, secret: str
) -> None:
    log.configure(form, "info", written)
    log.get("job").info(text)
    log.get("job").info("it came with", why=text)
    logging.getLogger("somebody.else").error("%s", text)
    try:
        int(text)  # its message repeats what it was given
    except ValueError:
        log.get("job").exception("it failed unexpectedly")
    said = written.getvalue()
    assert secret not in said
    assert log.HIDDEN in said


def test_what_is_named_as_a_secret_is_never_written(written: io.StringIO) -> None:
    log.configure("json", "info", written)
    log.get("job").info("it came with", api_key="abc", kubeconfig=b"xyz", user_token="def")
    (line,) = lines(written)
    assert {line[name] for name in ("api_key", "kubeconfig", "user_token")} == {log.HIDDEN}


def test_a_traceback_shows_no_local_variable(written: io.StringIO) -> None:
    log.configure("json", "info", written)

    def fail() -> None:
        hidden = "".join(reversed("yek-ym"))
        raise ValueError(len(hidden))

    try:
        fail()
    except ValueError:
        log.get("job").exception("it failed unexpectedly")
    assert "my-key" not in written.getvalue()
    assert "in fail" in written.getvalue()
