"""How one setting's value is read: each check takes what was given and returns what is meant.

The SettingsFault of a check is the second half of a sentence: the caller puts the setting's name and
where it came from before it.
"""

import ipaddress
import re
import stat
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from core.errors import SettingsFault

SECRET_FILE_MAX_BYTES = 4096
_PORT_MAX = 65535
_NUMBER = re.compile(r"-?\d{1,9}", re.ASCII)
_URL_TEXT = re.compile(r"https?://[\x21-\x5b\x5d-\x7e]{1,500}")
_EDGES = {" ": "a space", "\n": "a newline", "\r": "a carriage return", "\t": "a tab"}

Read = Callable[[object], Any]
Default = Callable[[Mapping[str, str]], Any]


@dataclass(frozen=True)
class Option:
    """One setting: how a given value is read, its default, and the sentence that explains it."""

    read: Read
    default: Default
    sentence: str


def option(read: Read, default: Default, sentence: str) -> dict[str, Option]:
    """Make the metadata of a field of Settings."""
    return {"option": Option(read, default, sentence)}


def text(value: object) -> str:
    """Read a word that is not empty, has nothing invisible in it and no blanks at its ends."""
    if not isinstance(value, str):
        raise SettingsFault(f"must be a text in quotes, and is {_kind(value)}.")
    return clean(value)


def clean(value: str) -> str:
    """Name what a copy and paste brings along and nobody sees."""
    if not value.strip():
        raise SettingsFault("is empty; give it a value, or remove it.")
    for place, character in (("begins", value[0]), ("ends", value[-1])):
        if character.isspace():
            named = _EDGES.get(character, _named(character))
            raise SettingsFault(f"{place} with {named}; remove it.")
    for character in value:
        if character != " " and not character.isprintable():
            raise SettingsFault(f"holds {_EDGES.get(character, _named(character))}; remove it.")
    return value


def path(value: object) -> Path:
    read = Path(text(value))
    if not read.is_absolute():
        raise SettingsFault(f"must be a full path that begins with /, and is {str(value)!r}.")
    return read


def mode_of(place: Path, *, if_closed: int | None = None) -> int:
    """Return type and mode of what is there, 0 where nothing is; SettingsFault if nobody can tell.

    `if_closed` is taken instead where this account may not look.
    """
    try:
        return place.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 0
    except OSError as fault:
        if if_closed is not None and isinstance(fault, PermissionError):
            return if_closed
        raise SettingsFault(
            f"names {place}, which cannot be looked at: {fault.strerror}."
        ) from None


def folder(value: object) -> Path:
    """Read a folder that exists, or may be made.

    For a person, whose database is elsewhere, it may well be closed; who needs it is told there.
    """
    read = path(value)
    mode = mode_of(read, if_closed=stat.S_IFDIR)
    if mode and not stat.S_ISDIR(mode):
        raise SettingsFault(f"must be a folder, and {read} is none.")
    return read


def programs_folder(value: object) -> Path:
    read = path(value)
    if not mode_of(read / "postgres"):
        raise SettingsFault(
            f"must be the folder of PostgreSQL's programs; there is no {read}/postgres."
        )
    return read


def secret_file(value: object) -> Path:
    """Read the path of a file that others may not read."""
    read = path(value)
    try:
        mode = read.stat().st_mode
    except OSError as fault:
        raise SettingsFault(f"names {read}, which cannot be read: {fault.strerror}.") from None
    if not stat.S_ISREG(mode):
        raise SettingsFault(f"names {read}, which is no file.")
    if mode & 0o077:
        raise SettingsFault(
            f"names {read}, which others may read (mode {stat.S_IMODE(mode):04o});"
            f" run: chmod 0400 {read}"
        )
    return read


def url_in_file(secret: Path) -> str:
    """Return the URL that the file holds; one newline at its end is the editor's, no more."""
    try:
        content = secret.read_bytes()
    except OSError as fault:
        raise SettingsFault(f"names {secret}, which cannot be read: {fault.strerror}.") from None
    if len(content) > SECRET_FILE_MAX_BYTES:
        raise SettingsFault(f"names {secret}, which is larger than {SECRET_FILE_MAX_BYTES} bytes.")
    try:
        return _conninfo(clean(content.decode().removesuffix("\n")))
    except UnicodeDecodeError:
        raise SettingsFault(f"names {secret}, which is no text.") from None
    except SettingsFault as wrong:
        raise SettingsFault(f"names {secret}, whose text {wrong}") from None


def database_url(value: object) -> str:
    """Read a URL or key=value text of libpq's; empty means an own database, a password is refused."""
    if value == "":
        return ""
    given = _conninfo(text(value))
    if conninfo_to_dict(given).get("password"):
        raise SettingsFault(
            "holds a password, and what stands here can be read by others; put the whole URL in a"
            " file of mode 0400 and name that in HOPSMETER_DATABASE_URL_FILE."
        )
    return given


def _conninfo(given: str) -> str:
    try:
        conninfo_to_dict(given)
    except psycopg.ProgrammingError:
        # libpq's own message repeats what it could not read, a password too
        raise SettingsFault(
            "is no database URL; write it like postgresql://hopsmeter@db.example/hopsmeter."
        ) from None
    return given


def url_without_password(url: str) -> str:
    """Return the URL's parts as key=value, a password replaced."""
    parts = conninfo_to_dict(url)
    return make_conninfo("", **{**parts, **({"password": "***"} if "password" in parts else {})})


def listen(value: object) -> tuple[str, int]:
    """Read ADDRESS:PORT; only loopback, because the page has no log-in."""
    given = text(value)
    host, _, port = given.rpartition(":")
    try:
        parsed = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        raise SettingsFault(f"must be like 127.0.0.1:9480, and is {given!r}.") from None
    if not _NUMBER.fullmatch(port) or not 0 <= int(port) <= _PORT_MAX:
        raise SettingsFault(f"must end in a port from 0 to {_PORT_MAX}, and is {given!r}.")
    if not parsed.is_loopback:
        raise SettingsFault(
            f"must be a loopback address such as 127.0.0.1, and is {given!r}; put a proxy in front"
            " where it must be reached from elsewhere."
        )
    return str(parsed), int(port)


def address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def webhook_url(value: object) -> str:
    """Read where events are sent: https, or http on this host; empty: nowhere."""
    if value == "":
        return ""
    given = text(value)
    no_url = SettingsFault("is no URL; write it like https://example.com/hooks/hopsmeter.")
    try:
        url = urlsplit(given)
        whole = bool(url.hostname) and url.port != 0
    except ValueError:
        raise no_url from None
    if not whole or not _URL_TEXT.fullmatch(given):
        raise no_url
    if url.username is not None or url.password is not None or url.fragment:
        raise SettingsFault("has a user, a password or a fragment in it; give the address alone.")
    if url.scheme != "https" and not plain_on_loopback(given):
        raise SettingsFault("must begin with https://.")
    return given


def without_path(url: str) -> str:
    """Return scheme and host alone: the path of a webhook is often what lets one in."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def plain_on_loopback(url: str) -> bool:
    """Say whether a URL is http to this host: for the sandbox alone."""
    parts = urlsplit(url)
    return parts.scheme == "http" and parts.hostname in ("127.0.0.1", "::1", "localhost")


def whole_number(low: int, high: int) -> Read:
    def read(value: object) -> int:
        given = text(value) if isinstance(value, str) else value
        if isinstance(given, str) and _NUMBER.fullmatch(given):
            given = int(given)
        if not isinstance(given, int) or isinstance(given, bool) or not low <= given <= high:
            raise SettingsFault(f"must be a whole number from {low} to {high}, and is {value!r}.")
        return given

    return read


def yes_or_no(value: object) -> bool:
    given = {"true": True, "false": False}.get(text(value)) if isinstance(value, str) else value
    if not isinstance(given, bool):
        raise SettingsFault(f"must be true or false, and is {value!r}.")
    return given


def one_of(*words: str) -> Read:
    def read(value: object) -> str:
        given = text(value)
        if given not in words:
            raise SettingsFault(f"must be one of {', '.join(words)}, and is {given!r}.")
        return given

    return read


def _named(character: str) -> str:
    name = unicodedata.name(character, "an unnamed character").lower()
    return f"U+{ord(character):04X} ({name})"


def _kind(value: object) -> str:
    words = {bool: "true or false", int: "a number", float: "a number", list: "a list"}
    return words.get(type(value), "a table" if isinstance(value, dict) else "something else")
