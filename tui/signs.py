"""The signs of states, the same on the dashboard and on the command line, which loads no screen.

The glyphs are of those that every terminal font has (WGL4) and one cell wide.
"""

from typing import NamedTuple


class Sign(NamedTuple):
    """How a state is shown: glyph, word, tone, the sentence of the help, a few words of legend."""

    glyph: str
    word: str
    tone: str
    meaning: str
    brief: str = ""


HOURS = {
    "settled": Sign("■", "settled", "ok", "kept, and read once more a day later: final", "final"),
    "collected": Sign(
        "□", "collected", "ok", "kept; it is read once more after a day", "read again after a day"
    ),
    "collecting": Sign("○", "collecting", "accent", "being read now"),
    "due": Sign("·", "due", "muted", "closed, not read yet", "not read yet"),
    "failed": Sign("×", "failed", "warn", "could not be read; it is tried again", "tried again"),
    "refused": Sign(
        "!", "refused", "bad", "the answer cannot be believed; a person decides", "a person decides"
    ),
    "held": Sign("?", "held", "bad", "a later answer shrank; a person decides", "a person decides"),
    "gap": Sign("░", "gap", "bad", "OpenCost no longer has it: lost, never zero", "lost"),
    "waived": Sign("-", "waived", "muted", "not asked for, with a reason (a pause)"),
    "none": Sign(" ", "", "faint", "before metering began"),
}

CLUSTERS = {
    "ok": Sign("●", "ok", "ok", "answers, and every closed hour is kept"),
    "catching up": Sign("◊", "catching up", "accent", "answers; older hours are still being read"),
    "retrying": Sign("▲", "retrying", "warn", "the last asks failed; it is tried again by itself"),
    "failing": Sign("×", "failing", "bad", "several asks in a row failed; see the reason"),
    "decide": Sign("!", "decide", "bad", "an hour is refused or held and waits for a person"),
    "paused": Sign("-", "paused", "muted", "not asked, on purpose"),
    "new": Sign("○", "new", "info", "never asked yet"),
}

DAEMONS = {
    "alive": Sign("●", "alive", "ok", "a daemon reported within the last minute"),
    "silent": Sign("▲", "silent", "bad", "no daemon has reported for a while"),
    "stopped": Sign("■", "stopped", "warn", "the daemon was stopped in good order"),
    "none": Sign("○", "none yet", "muted", "no daemon has ever run on this database"),
}

KINDS = {
    "user": Sign("●", "user", "ok", "somebody's: attributed"),
    "unmapped": Sign("▲", "unmapped", "warn", "nobody's yet: kept, charged once it has an owner"),
    "system": Sign("○", "system", "muted", "the cluster's own, absorbed"),
    "idle": Sign("○", "idle", "muted", "paid for and not used, absorbed"),
    "unmounted": Sign("○", "unmounted", "muted", "volumes that nobody mounts, absorbed"),
}
