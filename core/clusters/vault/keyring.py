"""The keys that only the daemon holds, and how they come in.

A keyring is one JSON document: named 32-byte keys, the first of which seals while all open, and
the private half of the key pair that terminals seal to.
"""

import base64
import binascii
import json
import re
import secrets
from dataclasses import dataclass, field, replace
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from core.clusters.vault.public_key import PublicKey
from core.errors import SecretFault
from core.secret import Secret, bare_refusals

KEY_BYTES = 32
KEYS_MAX = 64
FORMAT = 1
_KEY_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
_REMEDY = (
    "Restore it from your copy; where nothing is sealed yet, `hopsmeter secrets init` makes one."
)


@dataclass(frozen=True, slots=True)
class Key:
    key_id: str
    material: Secret


@dataclass(frozen=True, slots=True)
class Keyring:
    """Keys in order, primary first; `source` says for people where they came from."""

    keys: tuple[Key, ...]
    terminal_key: Secret = field(repr=False)
    source: str = "memory"

    @classmethod
    def generate(cls) -> "Keyring":
        return cls((_new_key(),), Secret(X25519PrivateKey.generate().private_bytes_raw()))

    @property
    def primary(self) -> Key:
        return self.keys[0]

    @property
    def key_ids(self) -> tuple[str, ...]:
        return tuple(key.key_id for key in self.keys)

    @property
    def public_key(self) -> PublicKey:
        return PublicKey(self.terminal_private_key().public_key().public_bytes_raw())

    def terminal_private_key(self) -> X25519PrivateKey:
        return X25519PrivateKey.from_private_bytes(self.terminal_key.reveal())

    def find(self, key_id: str) -> Key | None:
        return next((key for key in self.keys if key.key_id == key_id), None)

    def add_primary(self) -> "Keyring":
        """Return a keyring that seals with a fresh key and still opens what the old ones sealed."""
        return replace(self, keys=(_new_key(), *self.keys))

    def document(self) -> Secret:
        """Return the JSON that `read_keyring` reads."""
        return Secret(
            json.dumps(
                {
                    "hopsmeter_keyring": FORMAT,
                    "keys": [{"id": key.key_id, "key": _b64(key.material)} for key in self.keys],
                    "terminal_key": _b64(self.terminal_key),
                },
                indent=1,
            )
            + "\n"
        )


@bare_refusals
def read_keyring(document: Secret, *, source: str) -> Keyring:
    """Read a keyring, naming what is wrong with it and never what it holds."""
    fields = _object(_json(document, source), {"hopsmeter_keyring", "keys", "terminal_key"}, source)
    if fields.get("hopsmeter_keyring") != FORMAT:
        raise _fault(source, f'it is no keyring of format {FORMAT} (field "hopsmeter_keyring").')
    entries = fields.get("keys")
    if not isinstance(entries, _List) or not 1 <= len(entries.items) <= KEYS_MAX:
        raise _fault(source, f'it has no list "keys" of 1 to {KEYS_MAX} entries.')
    keys = tuple(_read_key(entry, place, source) for place, entry in enumerate(entries.items, 1))
    if len({key.key_id for key in keys}) < len(keys):
        raise _fault(source, "it names two keys alike.")
    terminal_key = _key_bytes(fields.get("terminal_key"), "terminal_key", source)
    held = [key.material.reveal() for key in keys] + [terminal_key.reveal()]
    if len(set(held)) < len(held):
        raise _fault(source, "it holds the same key twice under different names.")
    return Keyring(keys, terminal_key, source)


class _Hidden:
    """A piece of the parsed document, so that no local shows its content."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{type(self).__name__.strip('_').lower()} of a keyring>"


class _Fields(_Hidden):
    __slots__ = ("_pairs", "names")

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        self.names = [name for name, _ in pairs]
        self._pairs = dict(pairs)

    def get(self, name: str) -> object:
        value = self._pairs.get(name)
        if isinstance(value, list):
            return _List(value)
        return Secret(value) if isinstance(value, str) else value


class _List(_Hidden):
    __slots__ = ("items",)

    def __init__(self, items: list[Any]) -> None:
        self.items = items


def _json(document: Secret, source: str) -> object:
    try:
        return json.loads(document.reveal().decode("utf-8-sig"), object_pairs_hook=_Fields)
    except (ValueError, RecursionError):
        pass
    raise _fault(source, "it is no JSON text.")


def _object(value: object, known: set[str], source: str) -> _Fields:
    if not isinstance(value, _Fields):
        raise _fault(source, "it is no JSON object where one belongs.")
    if len(set(value.names)) < len(value.names):
        raise _fault(source, "it gives a field twice.")
    if not known.issuperset(value.names):
        # The name is not repeated: a key pasted in the wrong place would be printed.
        raise _fault(source, f"it has a field besides {', '.join(sorted(known))}.")
    return value


def _read_key(entry: object, place: int, source: str) -> Key:
    fields = _object(entry, {"id", "key"}, source)
    named = fields.get("id")
    if not isinstance(named, Secret) or not _KEY_ID.fullmatch(named.reveal_text()):
        raise _fault(
            source, f"it has no proper id for key {place} (1 to 32 letters, digits, `.`, `_`, `-`)."
        )
    return Key(named.reveal_text(), _key_bytes(fields.get("key"), f"key {place}", source))


def _key_bytes(value: object, name: str, source: str) -> Secret:
    """Decode 32 bytes of base64; blanks and newlines around them are a paste's, and forgiven."""
    if not isinstance(value, Secret):
        raise _fault(source, f'there is no text for "{name}".')
    try:
        key = Secret(base64.b64decode(value.reveal().strip(), validate=True))
    except (binascii.Error, ValueError):
        key = None
    if key is None:
        raise _fault(source, f'"{name}" is not base64; was it cut or changed when pasted?')
    if len(key) != KEY_BYTES:
        raise _fault(
            source, f'"{name}" is {len(key)} bytes, not {KEY_BYTES}; was it cut when pasted?'
        )
    return key


def _fault(source: str, wrong: str) -> SecretFault:
    return SecretFault(f"The keyring {source} cannot be used: {wrong} {_REMEDY}")


def _b64(key: Secret) -> str:
    return base64.b64encode(key.reveal()).decode()


def _new_key() -> Key:
    return Key(f"k{secrets.token_hex(4)}", Secret(secrets.token_bytes(KEY_BYTES)))
