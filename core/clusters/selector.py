"""Label selectors as Kubernetes reads them: equality and sets, parts joined by commas."""

import re
from typing import Final

SELECTOR_CHARS_MAX: Final = 512
_WORD: Final = r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_KEY: Final = rf"(?:(?=[^/]{{1,253}}/){_LABEL}(?:\.{_LABEL})*/)?{_WORD}"
_VALUE: Final = rf"(?:{_WORD})?"
_PART: Final = re.compile(
    rf" *(?:! *)?{_KEY} *"
    rf"| *{_KEY} *(?:==?|!=) *{_VALUE} *"
    rf"| *{_KEY} +(?:in|notin) *\( *(?!\))"
    rf"{_VALUE} *(?:, *{_VALUE} *)*\) *"
)
_COMMA: Final = re.compile(r",(?![^()]*\))")
"""Not one between parentheses."""


def selector_fault(text: str) -> str:
    """Say in a sentence why a text is no label selector; empty where it is one, or is empty."""
    if not text:
        return ""
    if len(text) > SELECTOR_CHARS_MAX:
        return f"The selector is longer than {SELECTOR_CHARS_MAX} characters."
    for part in _COMMA.split(text):
        if not _PART.fullmatch(part):
            return (
                f"The selector {text!r} is no label selector: {part.strip()!r} is neither KEY=VALUE"
                " nor KEY!=VALUE, KEY in (A, B), KEY notin (A, B), KEY or !KEY."
            )
    return ""
