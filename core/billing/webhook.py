"""The outgoing webhook: one signed POST, as Standard Webhooks describe it, and what came of it.

The signature is over `id.timestamp.body`; a receiver computes it anew, compares, and throws away what
is old or was seen before. Nothing of the answer but its status is read.
"""

import asyncio
import base64
import binascii
import hmac
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import httpx

from core.errors import SettingsFault
from core.secret import Secret
from core.settings import FROM_CREDENTIAL, Settings
from core.settings.checks import without_path
from core.settings.private import read_private_file

ANSWER_MAX_S = 10.0
"""For all of it: name, connection, TLS, request, status."""
STEP_MAX_S = 5.0
SECRET_PREFIX: Final = b"whsec_"
SECRET_BYTES_MIN, SECRET_BYTES_MAX = 24, 64
_WHY_CHARS_MAX = 200
_MAKE_ONE = (
    "it holds one line, `whsec_` and 24 to 64 random bytes in base64"
    " (printf 'whsec_%s\\n' \"$(openssl rand -base64 32)\")"
)


@dataclass(frozen=True)
class Webhook:
    """Where events go, and the key that they are signed with."""

    url: str = field(repr=False)  # its path may be a secret too
    key: Secret

    @property
    def place(self) -> str:
        return without_path(self.url)


def open_webhook(settings: Settings) -> Webhook | None:
    """Return the webhook that the settings name, None where they name none; SettingsFault tells why."""
    if not settings.webhook_url:
        return None
    if settings.webhook_secret_file is None:
        raise SettingsFault(
            "webhook_url is set, and no secret to sign with: name a file of mode 0400 in"
            f" webhook_secret_file, or give the credential hopsmeter-webhook-secret; {_MAKE_ONE}."
        )
    is_credential = settings.sources["webhook_secret_file"] == FROM_CREDENTIAL
    key = _read_key(settings.webhook_secret_file, private=not is_credential)
    return Webhook(settings.webhook_url, key)


def _read_key(path: Path, *, private: bool) -> Secret:
    """Return the bytes to sign with."""
    key = _key_of(read_private_file(path, "The webhook's secret", private=private))
    if key is None:
        raise SettingsFault(f"The webhook's secret {path} is none: {_MAKE_ONE}.")
    return key


def _key_of(content: Secret) -> Secret | None:
    if not content.reveal().startswith(SECRET_PREFIX):
        return None
    try:
        key = Secret(
            base64.b64decode(
                content.reveal().removesuffix(b"\n").removeprefix(SECRET_PREFIX), validate=True
            )
        )
    except binascii.Error:
        return None
    return key if SECRET_BYTES_MIN <= len(key) <= SECRET_BYTES_MAX else None


def body_of(payload: Any) -> bytes:
    """Return the bytes that are sent and signed: the same for each try."""
    return json.dumps(payload, separators=(",", ":"), ensure_ascii=False).encode()


def signed(key: Secret, message_id: str, at: datetime, body: bytes) -> dict[str, str]:
    """Return the three headers of Standard Webhooks for this try."""
    stamp = str(int(at.timestamp()))
    text = b".".join((message_id.encode(), stamp.encode(), body))
    signature = base64.b64encode(hmac.digest(key.reveal(), text, "sha256")).decode()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": stamp,
        "webhook-signature": f"v1,{signature}",
    }


def send(webhook: Webhook, headers: Mapping[str, str], body: bytes) -> str:
    """POST once; return why it was not taken, empty where it was (any 2xx)."""
    try:
        status = asyncio.run(_post(webhook, headers, body))
    except TimeoutError:
        return f"no answer within {ANSWER_MAX_S:g} s"
    except httpx.TimeoutException:
        return f"no answer within {STEP_MAX_S:g} s of a step"
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as fault:
        said = str(fault).replace(webhook.url, webhook.place).partition("\n")[0]
        return f"{type(fault).__name__}: {said}"[:_WHY_CHARS_MAX]
    if 200 <= status < 300:
        return ""
    return (
        f"it answered {status}{', and redirects are not followed' if 300 <= status < 400 else ''}"
    )


async def _post(webhook: Webhook, headers: Mapping[str, str], body: bytes) -> int:
    """The loop is here for its deadline alone: a timeout of each step bounds no sum of steps."""
    async with (
        asyncio.timeout(ANSWER_MAX_S),
        httpx.AsyncClient(
            # The machine's own authorities, and no proxy that the environment might name.
            verify=ssl.create_default_context(),
            trust_env=False,
            follow_redirects=False,
            timeout=STEP_MAX_S,
        ) as client,
        client.stream(
            "POST",
            webhook.url,
            content=body,
            headers={**headers, "content-type": "application/json", "user-agent": "hopsmeter"},
        ) as answer,
    ):
        return answer.status_code
