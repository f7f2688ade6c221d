"""What a sealed thing is bound to, in one unambiguous string of bytes."""

_LENGTH_BYTES = 4


def binding(*parts: str) -> bytes:
    """Join parts, each after its length, so that ("ab", "c") and ("a", "bc") differ."""
    encoded = [part.encode() for part in ("hopsmeter", *parts)]
    return b"".join(len(part).to_bytes(_LENGTH_BYTES) + part for part in encoded)
