"""Events reach whoever listens: signed, at least once, under one id, and never beyond their limits."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import psycopg
import pytest

from core.billing import deliver, webhook
from core.billing.deliver import PAUSES_S, TRIES_MAX, End, Tells, deliver_due, keep_unsent
from core.billing.webhook import Webhook, open_webhook, signed
from core.clock import monotonic_s, utc_now
from core.errors import SettingsFault
from core.secret import Secret
from core.settings import Settings, describe, load
from sandbox.kube.authority import Authority
from tests.core.billing.listening import SECRET_TEXT, Listener, listening
from tests.database import Database
from tests.factories import User, add_user

Connection = psycopg.Connection[Any]


@pytest.fixture
def listener() -> Iterator[Listener]:
    with listening() as found:
        yield found


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    path = tmp_path / "webhook-secret"
    path.write_text(SECRET_TEXT + "\n")
    path.chmod(0o400)
    return path


def settings_for(url: str, secret: Path) -> Settings:
    return load(
        {
            "HOPSMETER_WEBHOOK_URL": url,
            "HOPSMETER_WEBHOOK_SECRET_FILE": str(secret),
            "HOPSMETER_LOOPBACK_CLUSTERS": "true",
        }
    )


@pytest.fixture
def hook(listener: Listener, secret_file: Path) -> Webhook:
    found = open_webhook(settings_for(listener.url, secret_file))
    assert found is not None
    return found


@pytest.fixture
def connection(database: Database) -> Connection:
    return database.connect()


def happen(connection: Connection, count: int = 1) -> User:
    user = add_user(connection)
    for number in range(count):
        connection.execute(
            "INSERT INTO outgoing_events (type, account_no, payload) VALUES ('credits.low', %s, %s)",
            [user.no, json.dumps({"type": "credits.low", "data": {"number": number, "ü": "€"}})],
        )
    return user


class Heard:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.news: list[str] = []
        self.ends: list[tuple[End, str]] = []

    @property
    def tells(self) -> Tells:
        return Tells(
            lambda message: self.news.append(message.account),
            lambda _, end, why: self.ends.append((end, why)),
        )


def row(connection: Connection) -> tuple[Any, ...]:
    found: tuple[Any, ...] | None = connection.execute(
        "SELECT state, tries, error FROM outgoing_events"
    ).fetchone()
    assert found is not None
    return found


def hurry(connection: Connection) -> float:
    """Let the pause be over, and return how long it would have been."""
    found = connection.execute(
        "SELECT extract(epoch FROM next_try_at - clock_timestamp())::float8 FROM outgoing_events"
    ).fetchone()
    assert found is not None
    connection.execute(
        "UPDATE outgoing_events SET next_try_at = clock_timestamp(), lease_until = NULL"
    )
    return float(found[0])


def test_an_event_arrives_signed_and_is_told_of_once(
    connection: Connection, listener: Listener, hook: Webhook
) -> None:
    user = happen(connection, 2)
    heard = Heard()
    assert deliver_due(connection, hook, utc_now, heard.tells) == {"delivered": 2}
    assert deliver_due(connection, hook, utc_now, heard.tells) == {}
    listener.must_be_signed()
    assert [each["data"] for each in listener.events] == [
        {"number": 0, "ü": "€"},
        {"number": 1, "ü": "€"},
    ]
    assert heard.news == [user.id, user.id]
    assert len(set(listener.ids)) == 2
    headers, _ = listener.came[0]
    assert headers["content-type"] == "application/json"


def test_a_signature_is_the_one_of_the_published_example() -> None:
    key = webhook._key_of(Secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"))
    assert key is not None
    headers = signed(
        key,
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        datetime.fromtimestamp(1614265330, UTC),
        b'{"test": 2432232314}',
    )
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_what_is_not_taken_is_tried_again_later_and_given_up_at_last(
    connection: Connection, listener: Listener, hook: Webhook
) -> None:
    happen(connection)
    heard = Heard()
    listener.statuses = [500] * TRIES_MAX
    for number, pause_s in enumerate(PAUSES_S, 1):
        assert deliver_due(connection, hook, utc_now, heard.tells) == {"failed": 1}
        assert row(connection) == ("due", number, "it answered 500")
        assert pause_s - 5 < hurry(connection) <= pause_s
    assert deliver_due(connection, hook, utc_now, heard.tells) == {"given up": 1}
    assert row(connection) == ("given_up", TRIES_MAX, "it answered 500")
    assert deliver_due(connection, hook, utc_now, heard.tells) == {}
    listener.must_be_signed()
    assert len(set(listener.ids)) == 1
    assert len({body for _, body in listener.came}) == 1
    assert len(heard.news) == 1
    assert heard.ends[-1] == ("given up", "it answered 500")


def test_a_redirect_is_no_answer_and_is_not_followed(
    connection: Connection, listener: Listener, hook: Webhook
) -> None:
    happen(connection)
    listener.statuses = [302]
    assert deliver_due(connection, hook, utc_now, Heard().tells) == {"failed": 1}
    assert row(connection)[2] == "it answered 302, and redirects are not followed"
    assert len(listener.came) == 1


def test_who_answers_slowly_or_never_is_left_after_the_limit(
    connection: Connection,
    listener: Listener,
    hook: Webhook,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(webhook, "ANSWER_MAX_S", 0.4)
    happen(connection)
    done = threading.Event()
    listener.before = lambda: done.wait(20)
    begun_s = monotonic_s()
    assert deliver_due(connection, hook, utc_now, Heard().tells) == {"failed": 1}
    assert monotonic_s() - begun_s < 5
    done.set()
    assert row(connection)[2] == "no answer within 0.4 s"


def test_an_endless_answer_is_not_read(
    connection: Connection, listener: Listener, hook: Webhook
) -> None:
    happen(connection)

    def pour(handler: BaseHTTPRequestHandler) -> None:
        with contextlib.suppress(OSError):
            while True:
                handler.wfile.write(b"x" * 65536)

    listener.statuses = [200]
    listener.after = pour
    begun_s = monotonic_s()
    assert deliver_due(connection, hook, utc_now, Heard().tells) == {"delivered": 1}
    assert monotonic_s() - begun_s < 5


def test_nobody_there_is_a_reason_without_the_path(
    connection: Connection, listener: Listener, hook: Webhook
) -> None:
    happen(connection)
    gone = Webhook("http://127.0.0.1:9/hooks/pa55word", hook.key)
    assert deliver_due(connection, gone, utc_now, Heard().tells) == {"failed": 1}
    error = row(connection)[2]
    assert error.startswith("ConnectError: ")
    assert "pa55word" not in error
    assert "pa55word" not in repr(gone)


def test_only_a_certificate_that_the_machine_trusts_is_spoken_to(
    connection: Connection, hook: Webhook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    happen(connection)
    authority = Authority("receiver")
    with listening(authority.server_context()) as sealed:
        over_tls = Webhook(sealed.url, hook.key)
        assert deliver_due(connection, over_tls, utc_now, Heard().tells) == {"failed": 1}
        assert "CERTIFICATE_VERIFY_FAILED" in row(connection)[2]
        assert sealed.came == []
        (tmp_path / "ca.pem").write_bytes(authority.pem)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        hurry(connection)
        assert deliver_due(connection, over_tls, utc_now, Heard().tells) == {"delivered": 1}
        sealed.must_be_signed()


def test_who_listens_is_left_alone_after_three_failures(
    connection: Connection, listener: Listener, hook: Webhook
) -> None:
    happen(connection, 5)
    listener.statuses = [503] * 5
    assert deliver_due(connection, hook, utc_now, Heard().tells) == {"failed": 3}
    assert len(listener.came) == 3


def test_two_deliver_each_event_once(
    database: Database, listener: Listener, hook: Webhook, connection: Connection
) -> None:
    happen(connection, 12)
    lines = [database.connect() for _ in range(2)]
    threads = [
        threading.Thread(target=deliver_due, args=(line, hook, utc_now, Heard().tells))
        for line in lines
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(each["data"]["number"] for each in listener.events) == list(range(12))


def test_killed_between_delivery_and_mark_it_is_sent_again_under_the_same_id(
    database: Database,
    connection: Connection,
    listener: Listener,
    hook: Webhook,
    secret_file: Path,
) -> None:
    happen(connection)
    program = (
        "from tests.core.billing.listening import SECRET_TEXT\n"
        "from core.billing import deliver, webhook\nfrom core.clock import utc_now\n"
        "from core.db.connect import connect\nfrom core.secret import Secret\n"
        f"hook = webhook.Webhook({listener.url!r}, webhook._key_of(Secret(SECRET_TEXT)))\n"
        f"line = connect({database.url!r}, name='killed')\n"
        "tells = deliver.Tells(lambda _: None, lambda *_: None)\n"
        "deliver.deliver_due(line, hook, utc_now, tells)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program], cwd=Path(__file__).parents[3])
    listener.before = lambda: os.kill(process.pid, signal.SIGKILL)
    assert process.wait(30) == -signal.SIGKILL
    listener.before = lambda: None
    heard = Heard()
    assert deliver_due(connection, hook, utc_now, heard.tells) == {}
    connection.execute("UPDATE outgoing_events SET lease_until = clock_timestamp()")
    assert deliver_due(connection, hook, utc_now, heard.tells) == {"delivered": 1}
    assert row(connection) == ("delivered", 2, None)
    assert len(listener.ids) == 2
    assert len(set(listener.ids)) == 1
    listener.must_be_signed()


def test_one_whose_lease_was_taken_over_marks_nothing(
    connection: Connection, database: Database, listener: Listener, hook: Webhook
) -> None:
    happen(connection)
    other = database.connect()
    listener.before = lambda: other.execute(
        "UPDATE outgoing_events SET lease_token = gen_random_uuid()"
    )
    assert deliver_due(connection, hook, utc_now, Heard().tells) == {"lost": 1}
    assert row(connection)[0] == "due"


def test_without_a_webhook_events_are_put_aside_and_told_of(
    connection: Connection, listener: Listener, hook: Webhook
) -> None:
    happen(connection)
    heard = Heard()
    assert keep_unsent(connection, heard.tells) == 1
    assert keep_unsent(connection, heard.tells) == 0
    assert row(connection) == ("unsent", 0, None)
    assert heard.news == ["auth0|anna"]
    assert deliver_due(connection, hook, utc_now, heard.tells) == {}
    assert listener.came == []


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        (SECRET_TEXT, 0o440, "chmod 0400"),
        ("whsec_c2hvcnQ=", 0o400, "is none"),
        (SECRET_TEXT.removeprefix("whsec_"), 0o400, "is none"),
        (SECRET_TEXT + "!", 0o400, "is none"),
        ("", 0o400, "is none"),
        (None, 0o400, "cannot be read: No such file"),
    ],
)
def test_a_secret_that_cannot_be_one_is_told_and_not_shown(
    tmp_path: Path, content: str | None, mode: int, said: str
) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_text(content)
        path.chmod(mode)
    with pytest.raises(SettingsFault) as refused:
        open_webhook(settings_for("https://a.test/x", path))
    assert said in refused.value.message
    assert SECRET_TEXT[10:20] not in repr(refused.value)


def test_an_address_without_a_secret_is_a_fault_and_no_address_is_none(tmp_path: Path) -> None:
    with pytest.raises(SettingsFault, match="no secret to sign with"):
        open_webhook(load({"HOPSMETER_WEBHOOK_URL": "https://a.test/x"}))
    assert open_webhook(load({})) is None
    (tmp_path / "hopsmeter-webhook-secret").write_text(SECRET_TEXT)
    around = {"HOPSMETER_WEBHOOK_URL": "https://a.test/x", "CREDENTIALS_DIRECTORY": str(tmp_path)}
    found = open_webhook(load(around))
    assert found is not None
    assert "pa55" not in repr(found)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://a.test/x", "must begin with https://"),
        ("http://127.0.0.1:80/x", "must begin with https://"),
        ("ftp://a.test/x", "is no URL"),
        ("https://", "is no URL"),
        ("https://a.test:port/", "is no URL"),
        ("https://a.test/a b", "is no URL"),
        ("https://u:pa55word@a.test/", "has a user, a password"),
        ("https://a.test/#x", "has a user, a password or a fragment"),
    ],
)
def test_an_address_that_is_not_sealed_or_none_is_refused(url: str, said: str) -> None:
    with pytest.raises(SettingsFault) as refused:
        load({"HOPSMETER_WEBHOOK_URL": url})
    assert said in refused.value.message
    assert "pa55word" not in refused.value.message


def test_settings_show_where_it_goes_and_not_the_path() -> None:
    shown = load({"HOPSMETER_WEBHOOK_URL": "https://a.test:8443/hooks/pa55word"})
    lines = {line.name: line.value for line in describe(shown)}
    assert lines["webhook_url"] == "https://a.test:8443"
    assert "pa55word" not in repr(shown)


def test_the_lease_is_longer_than_any_try() -> None:
    assert deliver.LEASE_S > 2 * webhook.ANSWER_MAX_S
    assert sorted(PAUSES_S) == list(PAUSES_S)
