"""Words from outside in sentences: lists of names, a few by name and the rest by number."""

from collections.abc import Sequence

NAMED_MAX = 3
LENGTH_MAX = 80


def plain(text: str) -> str:
    """Return text from outside without what a terminal obeys or a database refuses."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)


def some(names: Sequence[str]) -> str:
    shown = ", ".join(plain(name[:LENGTH_MAX]) for name in names[:NAMED_MAX])
    left = len(names) - NAMED_MAX
    return shown + (f" and {left} more" if left > 0 else "")
