import re

from core.errors import KubeconfigRefused

_FIELD_LIKE = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,39}")
_SHOWN_CHARS_MAX = 60


def refuse(fault: str, wrong: str, cure: str) -> KubeconfigRefused:
    """Return the refusal to raise: its name, what is wrong, what to do. Never a secret."""
    return KubeconfigRefused(
        fault,
        f"This kubeconfig is refused ({fault}). {wrong} {cure} See docs/cluster-setup.md.",
    )


def is_field_like(name: str) -> bool:
    """Tell a field's name, which may be shown, from anything else: tokens stand in odd places."""
    return _FIELD_LIKE.fullmatch(name) is not None


def shown_field(name: str) -> str:
    return f"`{name}`" if is_field_like(name) else "of an odd name"


def shown_name(name: str) -> str:
    """Return a name out of the file, escaped and cut: it goes to a terminal."""
    escaped = ascii(name)
    return escaped if len(escaped) <= _SHOWN_CHARS_MAX else f"{escaped[:_SHOWN_CHARS_MAX]}…"
