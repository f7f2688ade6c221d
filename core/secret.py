"""Bytes that show themselves only when asked.

Tracebacks with locals, logs and debuggers print what a variable holds. From the moment a secret
is read it travels in a `Secret`, and `reveal()` is written inside the call that needs the bytes,
so that no local variable ever holds them.
"""

import hmac
from collections.abc import Callable
from functools import wraps
from typing import NoReturn, ParamSpec, Self, TypeVar

from core.errors import HopsmeterError

P = ParamSpec("P")
R = TypeVar("R")


class Secret:
    """Bytes hidden from repr, format, copies, pickles and JSON; equal in constant time."""

    __slots__ = ("_hidden",)
    __hash__ = None  # type: ignore[assignment]  # a dict of secrets would keep them alive unseen

    def __init__(self, content: "bytes | str | Secret") -> None:
        if isinstance(content, Secret):
            content = content.reveal()
        if isinstance(content, str):
            # A lone surrogate is no text; written as its escape it is refused further on, while
            # UnicodeEncodeError would carry the whole string.
            content = content.encode(errors="backslashreplace")
        self._hidden = bytes(content)

    def reveal(self) -> bytes:
        return self._hidden

    def reveal_text(self) -> str:
        """Return the content as UTF-8 text; UnicodeDecodeError shows bytes, so check at the edge."""
        return self._hidden.decode()

    def __repr__(self) -> str:
        return "Secret(hidden)"

    def __len__(self) -> int:
        return len(self._hidden)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._hidden, other._hidden)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled; reveal it into the one call that needs it")


def bare_refusals(function: Callable[P, R]) -> Callable[P, R]:
    """Raise our own errors without the frames and causes under them.

    An error inside a parser carries what it was parsing: in its locals, in the causes it chains
    to (JSONDecodeError keeps the whole document). What passes through here is the sentence only.
    Wrap functions whose own arguments are hidden or harmless.
    """

    @wraps(function)
    def refuse_barely(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except HopsmeterError as fault:
            bare = fault
        bare.__cause__ = bare.__context__ = bare.__traceback__ = None
        raise bare

    return refuse_barely
