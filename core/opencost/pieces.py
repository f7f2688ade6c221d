"""A large answer as several objects of rows, so that the first can be stored while others are decoded.

An answer that begins and ends as OpenCost's do is HEAD, members, TAIL: HEAD and TAIL are fixed words,
and only the members (names and rows, between the braces of the set) are unknown. They are cut at
commas that look like those between two rows, and each piece is set into braces of its own.

Where a cut falls is a guess, and may be one, because of this: *if every piece in its braces is one
JSON object that is not empty, then the answer is HEAD, the members of all pieces in their order, and
TAIL, and nothing else.* For a JSON object is a brace, members with a comma between any two, and a
brace; members that follow members after a comma are members; and a decoder reads from left to right,
in one way only. So no text can say one thing in pieces and another as a whole. A cut within a string
or a nested object leaves a piece with a quote or a brace open, which is no object; a piece that
closes the set's brace by itself ends before its text does, which is none either.

It takes the bare object: within a whole envelope (`{"data":[{` … `}]}`) a piece could close the set
and open another key, and be valid, where the answer says something else.

What pieces cannot tell is left to whoever joins them: that no name stands in two of them, and that
all are of one cluster and hour.
"""

import re

TAIL_BYTES_MAX = 64

_SPACE = rb"[ \t\r\n]*"


def _words(*words: bytes) -> bytes:
    return _SPACE.join((b"", *words, b""))


_HEAD = re.compile(
    _words(rb"\{", rb'"code"', rb":", rb"200", rb",")
    + rb"(?:%s)?" % _words(rb'"status"', rb":", rb'"success"', rb",")
    + _words(rb'"data"', rb":", rb"\[", rb"\{")
    + rb'(?="([^"\\/]+/))'
)
_TAIL = re.compile(_words(rb"\}", rb"\]", rb"\}") + rb"\Z")


class Pieces:
    """The members of an answer's set that were not handed out yet."""

    def __init__(self, body: bytes, begin: int, end: int, cluster: bytes) -> None:
        self._body, self._begin, self._end = body, begin, end
        # All keys of one answer begin with the same cluster; where they do not, it is not cut.
        self._between = re.compile(rb"\}%s,(?=%s\"%s)" % (_SPACE, _SPACE, re.escape(cluster)))

    def next(self, size_bytes: int) -> bytes | None:
        """Return the next members in braces, at least so many bytes of them; None where none is left.

        What would be left of less than half of that goes with them.
        """
        begin = self._begin
        if begin > self._end:
            return None
        comma = self._between.search(self._body, begin + size_bytes, self._end - size_bytes // 2)
        end = comma.start() + 1 if comma else self._end
        self._begin = comma.end() if comma else self._end + 1
        return b"".join((b"{", memoryview(self._body)[begin:end], b"}"))


def pieces_of(body: bytes) -> Pieces | None:
    """Return what an answer can be cut into; None where it has to be left whole."""
    head, tail = _HEAD.match(body), _TAIL.search(body, max(0, len(body) - TAIL_BYTES_MAX))
    if head is None or tail is None or tail.start() < head.end():
        return None
    return Pieces(body, head.end(), tail.start(), head[1])
