"""Our colours. A tone is what a colour means; three themes say how it looks.

Colour never stands alone: every state has a sign of its own (`signs`), and a word beside it or in
the help.
"""

from functools import lru_cache
from typing import Any

from rich.style import Style
from textual.app import App
from textual.theme import Theme

DARK, LIGHT, BLUE_ORANGE = "hopsmeter-dark", "hopsmeter-light", "hopsmeter-blue-orange"

TONES = ("ok", "info", "warn", "bad", "accent", "muted", "faint", "strong")
_BOLD = frozenset({"bad", "strong", "accent"})


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
