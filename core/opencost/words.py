"""Lists of names in sentences: a few by name, the rest by number."""

from collections.abc import Sequence

NAMED_MAX = 3
LENGTH_MAX = 80


def some(names: Sequence[str]) -> str:
    shown = ", ".join(name[:LENGTH_MAX] for name in names[:NAMED_MAX])
    left = len(names) - NAMED_MAX
    return shown + (f" and {left} more" if left > 0 else "")
