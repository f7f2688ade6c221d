"""Deliveries of Stripe's webhooks, verified on their raw bytes before anything of them is believed.

The SDK's own check takes one secret, lets signatures from the future pass and compares no version.
"""

import hashlib
import hmac
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from core.billing.stripe.gateway import API_VERSION
from core.billing.stripe.reading import read_body
from core.clock import monotonic_s
from core.errors import InputFault, SettingsFault
from core.secret import Secret, bare_refusals
from core.settings import FROM_CREDENTIAL, Settings
from core.settings.private import read_private_file
from core.webhooks.event import Delivery

BODY_BYTES_MAX: Final = 256 * 1024
HEADER_CHARS_MAX: Final = 4096
TOLERANCE_S: Final = 300
"""Both ways: a signature from the future is a clock that is wrong, or somebody who keeps one for later."""
SECRETS_MAX: Final = 8
SIGNATURES_MAX: Final = 16
SECRET_PREFIX: Final = b"whsec_"
LOOK_EVERY_S: Final = 1.0
_STAMP_DIGITS_MAX = 12


@dataclass(frozen=True)
class Refusal:
    """Why a delivery was not taken: a status of HTTP, and a sentence that Stripe's dashboard shows."""

    status: int
    why: str


def verify(
    body: bytes, header: str | None, secrets: Sequence[Secret], now: datetime, *, live: bool
) -> Delivery | Refusal:
    """Return what is kept of a delivery, or why it is refused; nothing of its body is in the reason."""
    if len(body) > BODY_BYTES_MAX:
        return Refusal(413, f"The body is larger than {BODY_BYTES_MAX} bytes.")
    stamp, codes = _parts(header)
    if stamp is None or not codes:
        return Refusal(400, "There is no Stripe-Signature that can be read (`t=…,v1=…`).")
    if not _is_signed(stamp, codes, body, secrets):
        return Refusal(
            400,
            "No signature fits a secret of ours: compare the endpoint's signing secret with the file"
            " that stripe_signing_file names.",
        )
    late_s = now.timestamp() - int(stamp)
    if abs(late_s) > TOLERANCE_S:
        away = f"{abs(late_s):.0f} s {'ago' if late_s > 0 else 'in the future'}"
        return Refusal(
            400,
            f"It was signed {away}, and {TOLERANCE_S} s are allowed: it was held up or sent again by"
            " somebody else, or a clock is wrong.",
        )
    return _read(body, live=live)


def _parts(header: str | None) -> tuple[str | None, list[str]]:
    """Return the timestamp and the signatures of scheme v1."""
    if header is None or len(header) > HEADER_CHARS_MAX or not header.isascii():
        return None, []
    pairs = [part.strip().partition("=")[::2] for part in header.split(",")]
    stamps = [value for name, value in pairs if name == "t"]
    codes = [value for name, value in pairs if name == "v1"][:SIGNATURES_MAX]
    if len(stamps) != 1 or not stamps[0].isdigit() or len(stamps[0]) > _STAMP_DIGITS_MAX:
        return None, []
    return stamps[0], codes


def _is_signed(stamp: str, codes: Sequence[str], body: bytes, secrets: Sequence[Secret]) -> bool:
    """Compare all with all, in constant time each."""
    signed = stamp.encode() + b"." + body
    fits = False
    for secret in secrets:
        code = hmac.digest(secret.reveal(), signed, "sha256").hex()
        for given in codes:
            fits |= hmac.compare_digest(code, given)
    return fits


def _read(body: bytes, *, live: bool) -> Delivery | Refusal:
    digest = hashlib.sha256(body).digest()
    try:
        return read_body(body, live=live, digest=digest, our_version=API_VERSION)
    except InputFault as fault:
        return Refusal(400, fault.message)


class SigningSecrets:
    """The secrets in their file, read anew when it changes: rotating one needs no restart.

    A file that cannot be used any more leaves the secrets that were there, and `tell` is told why.
    """

    def __init__(
        self, path: Path, *, private: bool, tell: Callable[[str], None] = lambda _: None
    ) -> None:
        self._path, self._private, self._tell = path, private, tell
        self._lock = threading.Lock()
        self._mark = _mark_of(path)
        self._secrets = read_secrets(path, private=private)
        self._looked_at_s = monotonic_s()

    def current(self) -> tuple[Secret, ...]:
        """Return those to compare with; looks at the file once a second at most."""
        with self._lock:
            if monotonic_s() - self._looked_at_s >= LOOK_EVERY_S:
                self._looked_at_s = monotonic_s()
                self._look()
            return self._secrets

    def _look(self) -> None:
        mark = _mark_of(self._path)
        if mark == self._mark:
            return
        self._mark = mark
        try:
            self._secrets = read_secrets(self._path, private=self._private)
        except SettingsFault as fault:
            self._tell(fault.message)


def signing_of(
    settings: Settings, tell: Callable[[str], None] = lambda _: None
) -> SigningSecrets | None:
    """Return the secrets that the settings name, None where they name none; SettingsFault tells why."""
    path = settings.stripe_signing_file
    if path is None:
        return None
    if settings.stripe_key_file is None:
        raise SettingsFault(
            "stripe_signing_file is set, and stripe_key_file is not: what webhooks tell of is fetched"
            " with Stripe's key. Set both, or neither."
        )
    private = settings.sources["stripe_signing_file"] != FROM_CREDENTIAL
    return SigningSecrets(path, private=private, tell=tell)


def read_secrets(path: Path, *, private: bool) -> tuple[Secret, ...]:
    """Return the secrets of a file, one `whsec_…` a line; SettingsFault where it holds none."""
    content = read_private_file(path, "The file of Stripe's signing secrets", private=private)
    return _secrets_in(content, str(path))


@bare_refusals
def _secrets_in(content: Secret, path: str) -> tuple[Secret, ...]:
    lines = [Secret(line.strip()) for line in content.reveal().splitlines() if line.strip()]
    good = all(_is_secret(line) for line in lines)
    if not lines or not good or len(lines) > SECRETS_MAX:
        raise SettingsFault(
            f"The file of Stripe's signing secrets {path} is none: it holds one to {SECRETS_MAX}"
            " lines, each the signing secret of an endpoint, which begins with whsec_."
        )
    return tuple(lines)


def _is_secret(line: Secret) -> bool:
    text = line.reveal()
    return (
        text.startswith(SECRET_PREFIX)
        and len(text) > 2 * len(SECRET_PREFIX)
        and (text.isascii() and len(text.split()) == 1)
    )


def _mark_of(path: Path) -> tuple[int, ...]:
    """Say which content a file has, as far as the file system knows; empty where there is none."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_mode
