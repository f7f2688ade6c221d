"""Whether our clock and the API server's agree, told by the Date of its answers.

An hour is closed by our clock. Where that is ahead, an hour would be asked for that is still open,
and OpenCost would answer for the part of it that is over; so then nothing is asked. Where it is
behind, hours are only asked for later.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from core.clusters.connection.client import Reply
from core.clusters.connection.trouble import Trouble

AHEAD_MAX_S = 60.0
"""The shortest collect_delay_minutes: within it no hour is open that is asked for."""
PATH = "/version"
"""Every account may ask for it, and a refusal is dated, too."""
CURE = (
    "Let both hosts follow NTP (`timedatectl` on each): an hour that is still open would be asked"
    " for. Then have it tried at once: `hopsmeter collect`."
)
_DATE_CUT = timedelta(seconds=1)
"""The header is cut to whole seconds."""


@dataclass(frozen=True)
class Clocks:
    """Two clocks at one moment; `ahead_s` is how far ours is ahead at least, below 0: behind."""

    ours: datetime
    theirs: datetime
    ahead_s: float


def compare(reply: Reply) -> Clocks | None:
    """Compare our clock with what an answer says; None where it tells no time."""
    try:
        said = parsedate_to_datetime(reply.headers.get("date") or "")
        theirs = (said if said.tzinfo else said.replace(tzinfo=UTC)).astimezone(UTC)
        # The answer was dated after it was asked for, and before it was here.
        least, most = reply.asked_at - (theirs + _DATE_CUT), reply.answered_at - theirs
    except (ValueError, OverflowError):
        return None
    off = max(least, timedelta(0)) + min(most, timedelta(0))
    return Clocks(reply.answered_at, theirs, off.total_seconds())


def require_not_ahead(reply: Reply) -> None:
    """Raise Trouble where our clock is so far ahead that we could ask for an open hour."""
    clocks = compare(reply)
    if clocks is None or clocks.ahead_s <= AHEAD_MAX_S:
        return
    raise Trouble(
        "clock",
        f"this host's clock says {clocks.ours:%Y-%m-%d %H:%M:%S} and the API server's"
        f" {clocks.theirs:%Y-%m-%d %H:%M:%S} (UTC): ours is {clocks.ahead_s:.0f} s ahead, so nothing"
        " is asked.",
        CURE,
    )
