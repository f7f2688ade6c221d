"""Every option once: its name, default, check and sentence. All faults are told together.

A value comes from the environment (HOPSMETER_NAME), else from the file (name = value, TOML), else
from the default. Secrets are in neither: a setting names the file that holds one.
"""

import os
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from core.errors import DatabaseFault, SettingsFault
from core.settings import checks as check
from core.settings.checks import Option, option
from core.settings.own import listens

PREFIX = "HOPSMETER_"
CONFIG_NAME = "HOPSMETER_CONFIG"
CONFIG_DEFAULT = Path("/etc/hopsmeter/hopsmeter.toml")
CONFIG_MAX_BYTES = 64 * 1024
URL_CREDENTIAL = "hopsmeter-database-url"
KEYRING_CREDENTIAL = "hopsmeter-keyring"
WEBHOOK_CREDENTIAL = "hopsmeter-webhook-secret"
STRIPE_KEY_CREDENTIAL = "hopsmeter-stripe-key"
STRIPE_SIGNING_CREDENTIAL = "hopsmeter-stripe-signing"
FROM_CREDENTIAL = "systemd credential"
_FROM_CREDENTIALS = (
    "keyring",
    "database_url_file",
    "webhook_secret_file",
    "stripe_key_file",
    "stripe_signing_file",
)
LEASE_MARGIN_S = 30
"""What a lease has beyond one answer: for what waits before it, and for the store after it."""
LEASE_MAX_S = 24 * 3600
_ANSWER_MIN_S, _ANSWER_MAX_S = 5, 300
_OURS_ELSEWHERE = ("HOPSMETER_TEST_",)
"""Read by the test suite alone; a daemon that a test starts inherits them."""


def _default_state(environment: Mapping[str, str]) -> Path:
    if environment.get("STATE_DIRECTORY"):
        return Path(environment["STATE_DIRECTORY"].split(":")[0])
    if os.geteuid() == 0:
        return Path("/var/lib/hopsmeter")
    home = environment.get("XDG_STATE_HOME")
    try:
        return (Path(home) if home else Path.home() / ".local/state") / "hopsmeter"
    except RuntimeError:
        raise SettingsFault(
            "This account has no home folder to keep anything in; name a folder in"
            " HOPSMETER_STATE_FOLDER."
        ) from None


def _credential(environment: Mapping[str, str], name: str) -> Path | None:
    folder = environment.get("CREDENTIALS_DIRECTORY")
    if not folder:
        return None
    path = Path(folder) / name
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as fault:
        raise SettingsFault(
            f"CREDENTIALS_DIRECTORY (environment) names {folder}, which cannot be looked into:"
            f" {fault.strerror}; unset it, or run this as the account it was made for."
        ) from None
    return path


@dataclass(frozen=True)
class Settings:
    """What this process runs with; `sources` says where each value came from."""

    state_folder: Path = field(
        metadata=option(
            check.folder,
            _default_state,
            "Where the daemon keeps its lock, its keyring and its own database.",
        )
    )
    database_url: str = field(
        repr=False,  # from its file it may hold a password
        metadata=option(
            check.database_url,
            lambda _: "",
            "The PostgreSQL to use, without a password; empty: an own one in the state folder.",
        ),
    )
    database_url_file: Path | None = field(
        metadata=option(
            check.secret_file,
            lambda environment: _credential(environment, URL_CREDENTIAL),
            "A file of mode 0400 or 0600 with the URL of the PostgreSQL, where it holds a password.",
        )
    )
    postgres_bin: Path | None = field(
        metadata=option(
            check.programs_folder,
            lambda _: None,
            "The folder of the programs of the own PostgreSQL; unset: the wheel's, else the machine's.",
        )
    )
    keyring: Path | None = field(
        metadata=option(
            check.path,
            lambda environment: _credential(environment, KEYRING_CREDENTIAL),
            "The file with the keys that seal secrets; unset: `keyring` in the state folder.",
        )
    )
    listen: tuple[str, int] = field(
        metadata=option(
            check.listen,
            lambda _: ("127.0.0.1", 9480),
            "Loopback address and port of /healthz, /readyz and /metrics.",
        )
    )
    collect_parallel: int = field(
        metadata=option(
            check.whole_number(1, 100), lambda _: 10, "How many clusters are asked side by side."
        )
    )
    collect_delay_minutes: int = field(
        metadata=option(
            check.whole_number(1, 59), lambda _: 10, "How long after its end an hour is first read."
        )
    )
    settle_hours: int = field(
        metadata=option(
            check.whole_number(1, 168),
            lambda _: 24,
            "How long after its end an hour is read again.",
        )
    )
    answer_timeout_s: int = field(
        metadata=option(
            check.whole_number(_ANSWER_MIN_S, _ANSWER_MAX_S),
            lambda _: 120,
            "How long one answer of a cluster may take.",
        )
    )
    lease_s: int = field(
        metadata=option(
            check.whole_number(_ANSWER_MIN_S + LEASE_MARGIN_S, LEASE_MAX_S),
            lambda _: 600,
            "How long an hour that a daemon asks for is its own; then another daemon takes it over.",
        )
    )
    answer_max_mib: int = field(
        metadata=option(
            check.whole_number(1, 1024),
            lambda _: 128,
            "The largest answer of a cluster that is read.",
        )
    )
    raw_keep_days: int = field(
        metadata=option(
            check.whole_number(2, 3650), lambda _: 400, "How long OpenCost's own answers are kept."
        )
    )
    webhook_url: str = field(
        repr=False,  # its path is often what lets one in
        metadata=option(
            check.webhook_url,
            lambda _: "",
            "Where events of accounts are sent, https only; empty: nowhere.",
        ),
    )
    webhook_secret_file: Path | None = field(
        metadata=option(
            check.path,
            lambda environment: _credential(environment, WEBHOOK_CREDENTIAL),
            "The file of mode 0400 with the secret (`whsec_…`) that events are signed with.",
        )
    )
    stripe_key_file: Path | None = field(
        metadata=option(
            check.path,
            lambda environment: _credential(environment, STRIPE_KEY_CREDENTIAL),
            "The file of mode 0400 with the key of Stripe's API (`sk_…` or `rk_…`).",
        )
    )
    stripe_signing_file: Path | None = field(
        metadata=option(
            check.path,
            lambda environment: _credential(environment, STRIPE_SIGNING_CREDENTIAL),
            "The file of mode 0400 with the secrets of Stripe's webhooks (`whsec_…`), one a line.",
        )
    )
    stripe_url: str = field(
        metadata=option(
            check.webhook_url,
            lambda _: "https://api.stripe.com",
            "Where Stripe's API is: another place is the demo's.",
        )
    )
    stripe_grace_days: int = field(
        metadata=option(
            check.whole_number(0, 90),
            lambda _: 7,
            "How long an account goes on with an unpaid invoice, or no card, before it is to stop.",
        )
    )
    stripe_return_url: str = field(
        metadata=option(
            check.webhook_url,
            lambda _: "https://stripe.com",
            "Where a person's browser goes after Stripe's page for a card or a payment.",
        )
    )
    hooks_listen: tuple[str, int] = field(
        metadata=option(
            check.listen,
            lambda _: ("127.0.0.1", 9481),
            "Loopback address and port of /webhooks/stripe, for the proxy that has the certificate.",
        )
    )
    loopback_clusters: bool = field(
        metadata=option(
            check.yes_or_no, lambda _: False, "Whether clusters on this host are taken: the demo's."
        )
    )
    log_format: str = field(
        metadata=option(
            check.one_of("auto", "human", "json"),
            lambda _: "auto",
            "How the log is written; auto: human on a terminal, else JSON.",
        )
    )
    log_level: str = field(
        metadata=option(
            check.one_of("debug", "info", "warning", "error"), lambda _: "info", "What is logged."
        )
    )
    sources: Mapping[str, str]

    @property
    def own_database(self) -> bool:
        """Whether the daemon keeps its own PostgreSQL in its state folder."""
        return not self.database_url

    @property
    def own_database_folder(self) -> Path:
        return self.state_folder / "postgres"

    @property
    def url_path(self) -> Path:
        """Where the daemon writes the URL of its own PostgreSQL while that runs."""
        return self.state_folder / "database.url"

    @property
    def keyring_path(self) -> Path:
        return self.keyring or self.state_folder / "keyring"

    @property
    def keyring_is_credential(self) -> bool:
        return self.sources["keyring"] == FROM_CREDENTIAL


OPTIONS: Mapping[str, Option] = {
    entry.name: entry.metadata["option"] for entry in fields(Settings) if entry.metadata
}


def load(environment: Mapping[str, str] = os.environ, config: Path | None = None) -> Settings:
    """Read and check everything; SettingsFault with one sentence a line if anything is wrong."""
    faults: list[str] = []
    found = _from_environment(environment, faults)
    found = _from_file(environment, config, faults) | found
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for name, chosen in OPTIONS.items():
        given = found.get(name)
        if given is None:
            try:
                values[name] = chosen.default(environment)
                sources[name] = _default_source(environment, name, values[name])
            except SettingsFault as wrong:
                # What keeps several of them from us is one fault.
                faults += [str(wrong)] if str(wrong) not in faults else []
            continue
        try:
            values[name] = chosen.read(given.value)
            sources[name] = given.source
        except SettingsFault as wrong:
            faults.append(f"{given.label} {wrong}")
    _resolve_database(values, sources, faults)
    _check_lease(values, found.get("lease_s"), faults)
    for url in ("webhook_url", "stripe_url"):
        _check_outgoing(url, values, found.get(url), faults)
    if faults:
        raise SettingsFault("\n".join(faults))
    return Settings(**values, sources=sources)


@dataclass(frozen=True)
class Line:
    """One setting as `doctor --paths` shows it; `value` never holds a secret."""

    name: str
    value: str
    source: str
    sentence: str


def describe(settings: Settings) -> list[Line]:
    """Return every setting with where its value came from."""
    values = {name: getattr(settings, name) for name in OPTIONS} | {
        "keyring": settings.keyring_path
    }
    return [
        Line(name, _shown(name, values[name]), settings.sources[name], entry.sentence)
        for name, entry in OPTIONS.items()
    ]


def client_url(settings: Settings) -> str:
    """Return the URL of the database for a program that runs beside the daemon.

    Raises DatabaseFault where the daemon's own database does not run, or is not ours to read.
    """
    if settings.database_url:
        return settings.database_url
    try:
        url = settings.url_path.read_text().strip()
    except FileNotFoundError:
        raise _not_running(f"{settings.url_path} is not there") from None
    except OSError as fault:
        raise DatabaseFault(
            f"{settings.url_path} cannot be read ({fault.strerror}); run this as the daemon's"
            " account, or set HOPSMETER_DATABASE_URL to a database with a role of your own."
        ) from None
    if not listens(url):
        raise _not_running(f"nobody listens where {settings.url_path} says")
    return url


def _not_running(seen: str) -> DatabaseFault:
    return DatabaseFault(
        f"The daemon's own database does not run: {seen}. Start `hopsmeterd run`, or set"
        " HOPSMETER_DATABASE_URL to the database that the daemon uses."
    )


@dataclass(frozen=True)
class _Given:
    value: object
    label: str
    source: str


def _from_environment(environment: Mapping[str, str], faults: list[str]) -> dict[str, _Given]:
    found = {}
    for variable in sorted(environment):
        if not variable.startswith(PREFIX) or variable == CONFIG_NAME:
            continue
        if variable.startswith(_OURS_ELSEWHERE):
            continue
        name = variable.removeprefix(PREFIX).lower()
        if name in OPTIONS and variable == PREFIX + name.upper():
            label = f"{variable} (environment)"
            found[name] = _Given(environment[variable], label, f"environment, {variable}")
        else:
            known = [PREFIX + option_name.upper() for option_name in OPTIONS]
            near = _nearest(variable.upper(), [*known, CONFIG_NAME])
            faults.append(f"{variable} (environment) is no setting{near}; correct or unset it.")
    return found


def _from_file(
    environment: Mapping[str, str], config: Path | None, faults: list[str]
) -> dict[str, _Given]:
    wished = config or (Path(environment[CONFIG_NAME]) if CONFIG_NAME in environment else None)
    path = wished or CONFIG_DEFAULT
    try:
        if wished is None and not path.exists():
            return {}
        if not stat.S_ISREG(mode := path.stat().st_mode) and not stat.S_ISDIR(mode):
            # A pipe would be waited for until somebody writes into it.
            faults.append(f"The settings file {path} cannot be read: it is no file.")
            return {}
        with path.open("rb") as file:
            text = file.read(CONFIG_MAX_BYTES)
        document = tomllib.loads(text.decode())
    except OSError as fault:
        faults.append(f"The settings file {path} cannot be read: {fault.strerror}.")
        return {}
    except ValueError as fault:  # TOML and UTF-8 faults are both ValueErrors
        faults.append(f"The settings file {path} cannot be understood: {fault}.")
        return {}
    except RecursionError:
        faults.append(f"The settings file {path} cannot be understood: it is nested too deeply.")
        return {}
    found = {}
    for key, value in document.items():
        if key in OPTIONS:
            found[key] = _Given(value, f"{key} ({path})", f"file, {path}")
        else:
            near = _nearest(key.lower(), list(OPTIONS))
            faults.append(f"{key} ({path}) is no setting{near}; correct or remove it.")
    return found


def _nearest(name: str, known: list[str]) -> str:
    close = get_close_matches(name, known, n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""


def _default_source(environment: Mapping[str, str], name: str, value: object) -> str:
    if name in _FROM_CREDENTIALS and value is not None:
        return FROM_CREDENTIAL
    if name == "state_folder" and environment.get("STATE_DIRECTORY"):
        return "systemd, STATE_DIRECTORY"
    return "default"


def _resolve_database(values: dict[str, Any], sources: dict[str, str], faults: list[str]) -> None:
    """Take the URL from its file; one that is given twice is a fault, not a precedence."""
    path = values.get("database_url_file")
    if path is None:
        return
    if values.get("database_url"):
        faults.append(
            f"HOPSMETER_DATABASE_URL ({sources['database_url']}) and HOPSMETER_DATABASE_URL_FILE"
            f" ({sources['database_url_file']}) are both set; keep one of them."
        )
        return
    try:
        values["database_url"] = check.url_in_file(path)
        sources["database_url"] = f"file, {path}"
    except SettingsFault as wrong:
        faults.append(f"HOPSMETER_DATABASE_URL_FILE ({sources['database_url_file']}) {wrong}")


def _check_lease(values: dict[str, Any], given: _Given | None, faults: list[str]) -> None:
    """An hour must not be taken over while its answer may still come; the default is long enough."""
    lease_s, answer_s = values.get("lease_s"), values.get("answer_timeout_s")
    if given is None or lease_s is None or answer_s is None:
        return
    least_s = answer_s + LEASE_MARGIN_S
    if lease_s < least_s:
        faults.append(
            f"{given.label} must exceed answer_timeout_s, which is {answer_s}, by at least"
            f" {LEASE_MARGIN_S}, and is {lease_s}; make it {least_s} or more, or answer_timeout_s"
            " shorter."
        )


def _check_outgoing(
    name: str, values: dict[str, Any], given: _Given | None, faults: list[str]
) -> None:
    """What is not sealed by TLS stays on this host, and that is for the sandbox alone."""
    url = values.get(name)
    if given and url and check.plain_on_loopback(url) and not values.get("loopback_clusters"):
        faults.append(f"{given.label} must begin with https://.")


def _shown(name: str, value: Any) -> str:
    if name == "database_url":
        return check.url_without_password(value) if value else "(its own, in the state folder)"
    if name in ("listen", "hooks_listen"):
        return check.address(*value)
    if name == "webhook_url":
        return check.without_path(value) if value else "(unset)"
    return "(unset)" if value is None else str(value)
