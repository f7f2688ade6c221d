"""The reference under which something is posted once: what a person gave, or the command's own."""

from core.errors import InputFault
from core.identity.principal import Principal

KEY_CHARS_MAX = 200
_OURS_BEFORE = ("command:", "expiry:")
_OURS_AFTER = (":repaid", ":arrears")
"""What our own posts are called by; a key like them would be in their way one day."""


def reference_of(principal: Principal, key: str | None) -> str:
    """Return the key where it can be one, without a key the command's name; InputFault says why not."""
    if key is None:
        assert principal.command_id is not None, "a post without a key or a command"
        return f"command:{principal.command_id}"
    if not 0 < len(key) <= KEY_CHARS_MAX or not key.isprintable() or key != key.strip():
        raise InputFault(
            f"A key has 1 to {KEY_CHARS_MAX} printable characters, none of them a space at its"
            " ends. Nothing was changed."
        )
    if key.startswith(_OURS_BEFORE) or key.endswith(_OURS_AFTER):
        raise InputFault(
            "A key does not begin with `command:` or `expiry:` nor end with `:repaid` or"
            " `:arrears`, which are ours; choose another. Nothing was changed."
        )
    return key
