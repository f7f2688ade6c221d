"""A daemon that takes webhooks, set up as an operator would."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx

from core.billing.stripe.gateway import API_VERSION
from core.clock import utc_now
from core.db.roles import DAEMON, ensure_roles
from sandbox.stripe.profile import Profile
from sandbox.stripe.world import StripeWorld
from tests.core.webhooks.sender import SECRET, Sender
from tests.daemon.process import Daemon, environment, state_folder
from tests.database import Connection, Database

NOWHERE = "http://127.0.0.1:9"


def private(path: Path, content: str) -> Path:
    """Write a file that only we may read, in place of one that was there."""
    path.unlink(missing_ok=True)
    path.write_text(content)
    path.chmod(0o400)
    return path


def around_of(
    database: Database,
    folder: Path,
    *,
    url: str = NOWHERE,
    key: str = "sk_test_nothing",
    secret: str = SECRET,
) -> dict[str, str]:
    """Return the environment of a daemon that asks Stripe at `url`."""
    ensure_roles(database.connect())
    return environment(
        state_folder(folder / "state"),
        database_url=database.url_for(DAEMON),
        hooks_listen="127.0.0.1:0",
        stripe_key_file=str(private(folder / "stripe-key", f"{key}\n")),
        stripe_signing_file=str(private(folder / "signing", f"{secret}\n")),
        stripe_url=url,
        loopback_clusters="true",
    )


def belongs_to(connection: Connection, stripe: StripeWorld) -> None:
    """Let the installation be one of that Stripe, set up an hour ago."""
    connection.execute("INSERT INTO stripe_meters VALUES ('daily', 'mtr_1', 'usage', 'prod_1')")
    connection.execute(
        "INSERT INTO stripe_site (stripe_account, livemode, default_meter, set_up_at)"
        " VALUES (%s, false, 'daily', %s)",
        [Profile(stripe.account).id, utc_now() - timedelta(hours=1)],
    )


def url_of(daemon: Daemon) -> str:
    return f"http://{daemon.wait_for('taking webhooks')['address']}/webhooks/stripe"


def sender_to(daemon: Daemon) -> Sender:
    return Sender(url_of(daemon))


def at_stripe(stripe: StripeWorld, path: str, form: dict[str, str]) -> dict[str, Any]:
    """Make something at the sandbox's Stripe, as another program would."""
    letter = {"authorization": f"Bearer {stripe.api_key}", "stripe-version": API_VERSION}
    answer = httpx.post(f"{stripe.url}{path}", data=form, headers=letter)
    made: dict[str, Any] = answer.raise_for_status().json()
    return made
