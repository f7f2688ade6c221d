"""Our colours and signs. A tone is what a colour means; three themes say how it looks.

Colour never stands alone: every state has a glyph of its own, and a word beside it or in the help.
The glyphs are of those that every terminal font has (WGL4) and one cell wide.
"""

from functools import lru_cache
from typing import Any, NamedTuple

from rich.style import Style
from textual.app import App
from textual.theme import Theme

DARK, LIGHT, BLUE_ORANGE = "hopsmeter-dark", "hopsmeter-light", "hopsmeter-blue-orange"

TONES = ("ok", "info", "warn", "bad", "accent", "muted", "faint", "strong")
_BOLD = frozenset({"bad", "strong", "accent"})


class Sign(NamedTuple):
    """How a state is shown: glyph, word, tone, and the sentence of the legend."""

    glyph: str
    word: str
    tone: str
    meaning: str


HOURS = {
    "settled": Sign("■", "settled", "ok", "kept, and read once more a day later: final"),
    "collected": Sign("□", "collected", "ok", "kept; it is read once more after a day"),
    "collecting": Sign("○", "collecting", "accent", "being read now"),
    "due": Sign("·", "due", "muted", "closed, not read yet"),
    "failed": Sign("×", "failed", "warn", "could not be read; it is tried again"),
    "refused": Sign("!", "refused", "bad", "the answer cannot be believed; a person decides"),
    "held": Sign("?", "held", "bad", "a later answer shrank; a person decides"),
    "gap": Sign("░", "gap", "bad", "OpenCost no longer has it: lost, never zero"),
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

# The grounds are barely tinted: with 256 colours a tinted dark becomes plain navy.
_DARK = Theme(
    name=DARK,
    primary="#7cb7e8",
    secondary="#5f7f9c",
    accent="#5ccfc0",
    warning="#e5b567",
    error="#f47c7c",
    success="#7ecb8f",
    foreground="#d6dce4",
    background="#131619",
    surface="#1b1f23",
    panel="#252b30",
    dark=True,
    variables={
        "tone-ok": "#7ecb8f", "tone-info": "#7cb7e8", "tone-warn": "#e5b567",
        "tone-bad": "#f47c7c", "tone-accent": "#5ccfc0", "tone-muted": "#95a2b0",
        "tone-faint": "#566372", "tone-strong": "#f2f5f8",
        "cursor": "#213445", "scrollbar": "#333b42", "scrollbar-background": "#131619",
    },
)  # fmt: skip
_LIGHT = Theme(
    name=LIGHT,
    primary="#1d5f99",
    secondary="#4d6a85",
    accent="#00706a",
    warning="#8a5a00",
    error="#b3261e",
    success="#1d7435",
    foreground="#20262d",
    background="#f7f8fa",
    surface="#e9edf1",
    panel="#dfe5ea",
    dark=False,
    variables={
        "tone-ok": "#18692f", "tone-info": "#1d5f99", "tone-warn": "#7a4f00",
        "tone-bad": "#b3261e", "tone-accent": "#00655f", "tone-muted": "#525e6a",
        "tone-faint": "#8d99a5", "tone-strong": "#0b0f13",
        "cursor": "#d9e8f5", "scrollbar": "#c3ccd5", "scrollbar-background": "#f7f8fa",
    },
)  # fmt: skip
# Blue is well, orange is wrong: told apart by people who see no red or no green.
_BLUE_ORANGE = Theme(
    name=BLUE_ORANGE,
    primary="#8ec7ff",
    secondary="#6d87a3",
    accent="#d3d9ff",
    warning="#ffd166",
    error="#ff9245",
    success="#63b3ff",
    foreground="#d9dde3",
    background="#10141b",
    surface="#181e28",
    panel="#202937",
    dark=True,
    variables={
        "tone-ok": "#63b3ff", "tone-info": "#a9c9e8", "tone-warn": "#ffd166",
        "tone-bad": "#ff9245", "tone-accent": "#d3d9ff", "tone-muted": "#9ca8ba",
        "tone-faint": "#586478", "tone-strong": "#f4f6fa",
        "cursor": "#22344f", "scrollbar": "#2b3648", "scrollbar-background": "#10141b",
    },
)  # fmt: skip

THEMES = (_DARK, _LIGHT, _BLUE_ORANGE)
_VARIABLES = {theme.name: theme.variables for theme in THEMES}


def register(app: App[Any], theme: str = DARK) -> None:
    """Give an app our themes, and nothing that moves or blinks."""
    for known in THEMES:
        app.register_theme(known)
    app.theme = theme
    app.animation_level = "none"


@lru_cache(maxsize=64)
def tone_style(theme: str, tone: str) -> Style:
    """Return the colour of a tone in a theme; the plain tone changes nothing."""
    if not tone:
        return Style.null()
    return Style(color=_VARIABLES[theme][f"tone-{tone}"], bold=tone in _BOLD or None)
