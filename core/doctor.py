"""Looks over the whole installation and says what it saw and, where something is wrong, the cure.

It changes nothing, and goes on after a fault: one visit shows all that is to be done.
"""

import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import httpx
import psycopg

from core.billing.stripe.gateway import API_VERSION, door_of
from core.billing.stripe.signature import signing_of
from core.billing.stripe.their_time import time_at
from core.billing.webhook import open_webhook
from core.clock import utc_now
from core.clusters.keys import check_keyring, may_check, open_keyring
from core.clusters.vault import keyring_status
from core.db.binaries import MAJOR_MIN, find_binaries
from core.db.connect import connect, place
from core.db.notify import listen, wait
from core.db.version import current_version, require_current
from core.errors import HopsmeterError, SettingsFault
from core.reports.clusters import ClusterLine, clusters, hours_text
from core.reports.events import LATELY, outgoing
from core.reports.session import daemons, life
from core.reports.webhooks import waiting
from core.settings import OPTIONS, Settings, client_url, load
from core.settings.checks import without_path
from core.settings.own import listens

ROOM_WARN_BYTES = 2 * 2**30
ROOM_FAIL_BYTES = 200 * 2**20
DATE_STEP = timedelta(seconds=1)
"""Finer than that Stripe does not tell the time: half of it more is the likeliest."""
SKEW_WARN_S = 2.0
SKEW_FAIL_S = 60.0
NOTICE_LIMIT_S = 2.0
EVENTS_WARN_S = 900.0
EXPIRY_WARN = timedelta(days=14)

_START = "Start it: systemctl start hopsmeterd, or `hopsmeterd run`."

Verdict = Literal["ok", "warn", "fail"]
Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; `cure` is empty where nothing is to be done."""

    name: str
    verdict: Verdict
    saw: str
    cure: str = ""


def examine(
    environment: Mapping[str, str] = os.environ, config: Path | None = None
) -> list[Finding]:
    """Look at everything that can be reached from here."""
    try:
        settings = load(environment, config)
    except SettingsFault as faults:
        return _of_settings(faults)
    found = [_settings(settings), *examine_start(settings)]
    # What keeps us from the database has its finding already.
    with (
        suppress(HopsmeterError, psycopg.Error),
        connect(client_url(settings), name="hopsmeter doctor", read_only=True) as connection,
    ):
        found += _look(connection, (*_WORK, _webhook_with(settings), _stripe_events))
    if settings.own_database and not _own_runs(settings):
        found.append(Finding("daemon", "fail", "none runs on this state folder", _START))
    if settings.stripe_key_file is not None:
        found.append(_clock_of_stripe(settings.stripe_url))
    found.append(_kubernetes())
    if any(each.name == "daemon" and each.verdict == "ok" for each in found):
        found = [_held_by_daemon(each, settings) for each in found]
    return found


def examine_start(settings: Settings) -> list[Finding]:
    """Look at what a start of the daemon needs: folders, keyring, database, schema, canary."""
    found = [
        _checked("state folder", lambda: _state_folder(settings)),
        _checked("keyring", lambda: _keyring(settings)),
    ]
    if settings.webhook_url:
        found.append(_checked("webhook secret", lambda: _webhook_secret(settings)))
    if settings.stripe_key_file is not None:
        found.append(_checked("Stripe's key", lambda: _stripe_key(settings)))
    if settings.stripe_signing_file is not None:
        found.append(_checked("signing secrets", lambda: _signing_secrets(settings)))
    if settings.own_database:
        found.append(_checked("programs", lambda: _programs(settings)))
        if not _own_runs(settings):
            saw = f"its own in {settings.own_database_folder}, not running now"
            return [*found, Finding("database", "ok", saw, "`hopsmeterd run` starts it.")]
    try:
        with connect(client_url(settings), name="hopsmeter doctor") as connection:
            found.append(_server(connection, settings))
            found += _look(connection, (*_BASE, _canary_with(settings)))
    except (HopsmeterError, psycopg.Error) as fault:
        found.append(Finding("database", "fail", _sentence(fault)))
    return found


def _own_runs(settings: Settings) -> bool:
    try:
        return listens(settings.url_path.read_text().strip())
    except FileNotFoundError:
        return False
    except OSError:
        # There is one, and what keeps us from it is told where it is asked for.
        return True


def _of_settings(faults: SettingsFault) -> list[Finding]:
    cure = "Correct them; `hopsmeter doctor --paths` shows every setting and where it comes from."
    return [Finding("settings", "fail", line, cure) for line in faults.message.splitlines()]


def _settings(settings: Settings) -> Finding:
    given = [name for name in OPTIONS if settings.sources[name] != "default"]
    named = f": {', '.join(given)}" if given else ""
    return Finding("settings", "ok", f"{len(given)} of {len(OPTIONS)} are set{named}")


def _checked(name: str, look: Callable[[], Finding]) -> Finding:
    try:
        return look()
    except HopsmeterError as fault:
        return Finding(name, "fail", fault.message)
    except OSError as fault:
        return Finding(name, "fail", f"{fault.filename}: {fault.strerror}")


def _state_folder(settings: Settings) -> Finding:
    folder = settings.state_folder
    if not folder.exists():
        return _state_folder_to_make(folder)
    mode = stat.S_IMODE(folder.stat().st_mode)
    if not os.access(folder, os.W_OK | os.X_OK):
        cure = "As the daemon's account it must be writable; for a person this is as it should be."
        return Finding("state folder", "warn", f"{folder} is not open to this account", cure)
    if mode & 0o022:
        saw = f"{folder} may be written to by others (mode {mode:04o})"
        return Finding("state folder", "fail", saw, f"Run: chmod 0700 {folder}")
    free = shutil.disk_usage(folder).free
    saw = f"{folder}, {free / 2**30:.1f} GiB free"
    if free < ROOM_WARN_BYTES and settings.own_database:
        verdict: Verdict = "fail" if free < ROOM_FAIL_BYTES else "warn"
        return Finding("state folder", verdict, saw, "Make room: the own database lives there.")
    return Finding("state folder", "ok", saw)


def _state_folder_to_make(folder: Path) -> Finding:
    above = next(each for each in folder.parents if each.exists())
    if os.path.lexists(folder):
        cure = "It is a link to nothing: remove it, or make what it points to."
        return Finding("state folder", "fail", f"{folder} is not there", cure)
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        cure = f"It cannot be made in {above}; make it by hand, or set state_folder to another."
        return Finding("state folder", "fail", f"{folder} is not there", cure)
    return Finding("state folder", "ok", f"{folder} is not there yet; the daemon makes it")


def _keyring(settings: Settings) -> Finding:
    path = settings.keyring_path
    with suppress(OSError):
        if path.exists() and not os.access(path, os.R_OK):
            saw = f"{path} is not open to this account"
            return Finding("keyring", "warn", saw, "Run this as the daemon's account to check it.")
    status = keyring_status(open_keyring(settings))
    older = f", older ones {', '.join(status.older_key_ids)}" if status.older_key_ids else ""
    return Finding("keyring", "ok", f"{status.source}: key {status.primary_key_id}{older}")


def _webhook_secret(settings: Settings) -> Finding:
    path = settings.webhook_secret_file
    if shut := _shut("webhook secret", path):
        return shut
    open_webhook(settings)
    return Finding("webhook secret", "ok", f"{path} can be signed with")


def _stripe_key(settings: Settings) -> Finding:
    path = settings.stripe_key_file
    if shut := _shut("Stripe's key", path):
        return shut
    door = door_of(settings)
    mode = "live mode" if door and door.is_live else "test mode"
    saw = f"{path} has one, of {mode}; `hopsmeter stripe show` tries it"
    return Finding("Stripe's key", "ok", saw)


def _signing_secrets(settings: Settings) -> Finding:
    path = settings.stripe_signing_file
    if shut := _shut("signing secrets", path):
        return shut
    signing = signing_of(settings)
    number = len(signing.current()) if signing else 0
    saw = f"{path} has {number}; Stripe's endpoint is to have the API version {API_VERSION}"
    return Finding("signing secrets", "ok", saw)


def _shut(name: str, path: Path | None) -> Finding | None:
    """A secret that this account may not read is none of its faults."""
    with suppress(OSError):
        if path is not None and path.exists() and not os.access(path, os.R_OK):
            saw = f"{path} is not open to this account"
            return Finding(name, "warn", saw, "Run this as the daemon's account to check it.")
    return None


def _held_by_daemon(finding: Finding, settings: Settings) -> Finding:
    """A credential of systemd's is given to the service alone: what is not here is no fault then."""
    given = {"keyring": settings.keyring, "webhook secret": settings.webhook_secret_file}
    if finding.verdict == "ok" or given.get(finding.name, finding) is not None:
        return finding
    saw = "not to be seen from here; the daemon that runs has proved its own"
    return Finding(finding.name, "ok", saw)


def _programs(settings: Settings) -> Finding:
    found = find_binaries(settings.postgres_bin)
    return Finding("programs", "ok", f"PostgreSQL {found.version} of the {found.origin}")


def _server(connection: Connection, settings: Settings) -> Finding:
    number = connection.info.server_version
    saw = f"PostgreSQL {number // 10_000}.{number % 10_000}, {place(connection.info.dsn)}"
    if number // 10_000 < MAJOR_MIN:
        return Finding("database", "fail", saw, f"Upgrade it to PostgreSQL {MAJOR_MIN} or newer.")
    if settings.own_database:
        saw += "; hopsmeter's own: enough for a try and a small site"
        cure = "For more, set HOPSMETER_DATABASE_URL to a PostgreSQL with backups; docs/install.md."
        return Finding("database", "ok", saw, cure)
    return Finding("database", "ok", saw)


Look = Callable[[Connection], Iterator[Finding]]


def _look(connection: Connection, looks: tuple[Look, ...]) -> list[Finding]:
    """Look at each; one that fails is a finding and holds back no other."""
    found: list[Finding] = []
    for look in looks:
        name = look.__name__.strip("_").replace("_", " ")
        try:
            found += look(connection)
        except (HopsmeterError, psycopg.Error) as fault:
            found.append(Finding(name, "fail", _sentence(fault)))
    return found


def _schema(connection: Connection) -> Iterator[Finding]:
    require_current(connection)
    yield Finding("schema", "ok", f"version {current_version(connection)}, as this program wants")


def _writes(connection: Connection) -> Iterator[Finding]:
    row = connection.execute(
        "SELECT pg_is_in_recovery(), current_setting('transaction_read_only') = 'on'"
    ).fetchone()
    assert row is not None
    standby, read_only = row
    if standby:
        cure = "Name the primary in HOPSMETER_DATABASE_URL."
        yield Finding("writes", "fail", "this is a standby, which takes none", cure)
    elif read_only:
        saw = "it takes none: default_transaction_read_only is on"
        cure = (
            "Providers set it where the disk is full: make room there. Else see who set it, or name"
            " another database in HOPSMETER_DATABASE_URL."
        )
        yield Finding("writes", "fail", saw, cure)
    else:
        yield Finding("writes", "ok", "it takes them")


def _rights(connection: Connection) -> Iterator[Finding]:
    row = connection.execute(
        "SELECT session_user,"
        " has_table_privilege('hopsmeter.collection_windows', 'UPDATE')"
        " AND has_table_privilege('hopsmeter.allocations', 'INSERT')"
        " AND has_table_privilege('hopsmeter.audit_log', 'INSERT'),"
        " has_any_column_privilege('hopsmeter.commands', 'INSERT')"
    ).fetchone()
    assert row is not None
    role, works, asks = row
    if works:
        yield Finding("rights", "ok", f"role {role} may do the daemon's work")
    elif asks:
        saw = f"role {role} may read and submit commands"
        yield Finding("rights", "warn", saw, "Right for a person, too little for the daemon.")
    else:
        saw = f"role {role} may neither work nor submit commands"
        cure = "Run `hopsmeter db roles`, and connect as hopsmeter_daemon, or as a person's role."
        yield Finding("rights", "fail", saw, cure)


def _clock(connection: Connection) -> Iterator[Finding]:
    before = utc_now()
    row = connection.execute("SELECT clock_timestamp()").fetchone()
    assert row is not None
    skew_s = abs((row[0] - _middle(before)).total_seconds())
    cure = "Let both machines keep time by NTP."
    yield _of_skew("clock", skew_s, "the database", cure)


def _middle(before: datetime) -> datetime:
    """Return when an answer was most likely given that was asked for then, and has come now."""
    return before + (utc_now() - before) / 2


def _of_skew(name: str, skew_s: float, place: str, cure: str) -> Finding:
    verdict: Verdict = "ok"
    if skew_s > SKEW_WARN_S:
        verdict = "fail" if skew_s > SKEW_FAIL_S else "warn"
    saw = f"{skew_s:.1f} s between here and {place}"
    return Finding(name, verdict, saw, "" if verdict == "ok" else cure)


def _clock_of_stripe(url: str) -> Finding:
    """Asked without the key: any answer has the time, in whole seconds."""
    name, before = "clock of Stripe", utc_now()
    try:
        at = time_at(url)
    except httpx.HTTPError as fault:
        saw = f"{without_path(url)} gave no answer ({type(fault).__name__})"
        return Finding(name, "warn", saw, "See to this machine's way out; the daemon tries again.")
    if at is None:
        saw = f"what answers at {without_path(url)} tells no time"
        return Finding(name, "warn", saw, "See to the proxy between this machine and Stripe.")
    skew_s = abs((at + DATE_STEP / 2 - _middle(before)).total_seconds())
    return _of_skew(name, skew_s, "Stripe", "Let this machine keep time by NTP.")


def _notices(connection: Connection) -> Iterator[Finding]:
    """A pooler takes LISTEN and stays silent, so the way there and back is the only proof."""
    listen(connection, "hopsmeter_doctor")
    connection.execute("NOTIFY hopsmeter_doctor")
    if wait(connection, NOTICE_LIMIT_S):
        yield Finding("notices", "ok", "LISTEN and NOTIFY reach through")
        return
    cure = "A pooler is in between; name the database's direct port (Supabase: 5432, not 6543)."
    yield Finding("notices", "fail", "a NOTIFY did not come back", cure)


def _canary_with(settings: Settings) -> Look:
    def _canary(connection: Connection) -> Iterator[Finding]:
        if not os.access(settings.keyring_path, os.R_OK):
            return  # the keyring has its finding already
        if not may_check(connection):
            saw = "not for this role to see; the daemon proves it at each start"
            yield Finding("canary", "ok", saw)
            return
        known = check_keyring(connection, open_keyring(settings))
        saw = (
            f"the keyring opens it (key {known})" if known else "none yet; the first start makes it"
        )
        yield Finding("canary", "ok", saw)

    return _canary


def _daemon(connection: Connection) -> Iterator[Finding]:
    known = daemons(connection)
    now = utc_now()
    if life(known, now) == "alive":
        freshest = known[0]
        age_s = (now - freshest.seen_at).total_seconds()
        saw = f"{freshest.name}, version {freshest.version}, seen {max(age_s, 0):.0f} s ago"
        if freshest.version != version("hopsmeter"):
            saw += f"; this program is {version('hopsmeter')}"
            yield Finding("daemon", "warn", saw, "Restart it, so that both are of one version.")
        else:
            yield Finding("daemon", "ok", saw)
        return
    word = {"none": "none has ever run", "stopped": "it was stopped", "silent": "it is silent"}
    saw = word[life(known, now)] + (
        f", last seen {known[0].seen_at:%Y-%m-%d %H:%M}Z" if known else ""
    )
    yield Finding("daemon", "fail", saw, _START)


def _clusters(connection: Connection) -> Iterator[Finding]:
    now = utc_now()
    lines = clusters(connection, now)
    well = [line for line in lines if not any(_troubles(line))]
    yield Finding("clusters", "ok", f"{len(well)} of {len(lines)} need nobody")
    for line in lines:
        for saw, cure in _troubles(line):
            yield Finding(f"cluster {line.name}", "warn", saw, cure)
        expiry = line.credentials_expire_at
        if expiry is not None and expiry - now < EXPIRY_WARN:
            past = expiry < now
            saw = f"its credentials {'expired' if past else 'expire'} on {expiry:%Y-%m-%d %H:%M}Z"
            cure = f"Make new ones: `hopsmeter cluster edit {line.name} --kubeconfig FILE`."
            yield Finding(f"cluster {line.name}", "fail" if past else "warn", saw, cure)


def _troubles(line: ClusterLine) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with a cluster and its cure."""
    look = f"See `hopsmeter hours {line.name}`."
    walk = f"Walk the way: `hopsmeter cluster check {line.name}`."
    if line.health == "paused":
        yield f"paused: {line.status_why}", f"`hopsmeter cluster resume {line.name}` ends it."
    elif line.failures:
        yield f"{line.failures} visits failed in a row; the last: {line.last_outcome}", walk
    if line.faulted:
        yield f"{hours_text(line.faulted)} failed, the newest: {line.fault}", f"{look} {walk}"
    if line.undecided:
        yield f"{hours_text(line.undecided)} to be decided by a person", look
    if line.hours.gap:
        yield f"{hours_text(line.hours.gap)} lost (gaps), of which no cost is known", look


def _stripe_events(connection: Connection) -> Iterator[Finding]:
    """Nothing is said where nothing ever came."""
    found = {each.state: each for each in waiting(connection)}
    due, given_up = found["due"], found["given up"]
    if given_up.count:
        saw = f"{_events_text(given_up.count)} of Stripe's given up"
        cure = "See why: hopsmeter webhooks list --state 'given up'; then `webhooks replay`."
        yield Finding("Stripe's events", "warn", saw, cure)
    if due.oldest_s > EVENTS_WARN_S:
        age = f"the oldest for {due.oldest_s / 60:.0f} minutes"
        saw = f"{_events_text(due.count)} of Stripe's to be handled, {age}"
        cure = "See why: hopsmeter webhooks list --state due."
        yield Finding("Stripe's events", "warn", saw, cure)


def _webhook_with(settings: Settings) -> Look:
    def _webhook(connection: Connection) -> Iterator[Finding]:
        found = outgoing(connection, utc_now())
        if not settings.webhook_url:
            are = "is" if found.unsent == 1 else "are"
            kept = f"; {_events_text(found.unsent)} {are} kept unsent" if found.unsent else ""
            saw = f"not set: events of accounts are in the log and the audit trail{kept}"
            yield Finding("webhook", "ok", saw)
            return
        saw = f"{without_path(settings.webhook_url)}: {_events_text(found.waiting)} to be delivered"
        if found.waiting and found.fault:
            since = f"{found.waiting_since:%Y-%m-%d %H:%M}Z"
            saw += f", the oldest since {since}; the last try: {found.fault}"
            cure = "See that it is up and answers 2xx within 10 s; each is tried for three days."
            yield Finding("webhook", "warn", saw, cure)
        else:
            yield Finding("webhook", "ok", saw)
        if found.given_up:
            saw = f"{_events_text(found.given_up)} given up in {LATELY.days} days: {found.fault}"
            cure = "Tell whoever listens what they missed; the audit trail has each event."
            yield Finding("webhook", "warn", saw, cure)

    return _webhook


def _events_text(count: int) -> str:
    return "1 event" if count == 1 else f"{count} events"


def _kubernetes() -> Finding:
    try:
        return Finding("kubernetes client", "ok", f"version {version('kubernetes')}")
    except PackageNotFoundError:
        cure = "Install hopsmeter anew, with its dependencies."
        return Finding("kubernetes client", "fail", "it is not installed", cure)


def _sentence(fault: Exception) -> str:
    if isinstance(fault, HopsmeterError):
        return fault.message
    lines = str(fault).strip().splitlines()
    return lines[0] if lines else type(fault).__name__


_BASE: tuple[Look, ...] = (_schema, _writes, _rights, _clock, _notices)
_WORK: tuple[Look, ...] = (_daemon, _clusters)
