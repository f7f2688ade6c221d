"""SQL of weight stands in a `queries.sql` beside its module: name, one sentence, the statement."""

import re
from functools import cache
from pathlib import Path
from typing import LiteralString, cast

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


class Queries:
    """The statements of one file by name; psycopg's parameters by name stand in them."""

    def __init__(self, path: Path) -> None:
        parts = _NAME.split(path.read_text(encoding="utf-8"))
        names, texts = parts[1::2], parts[2::2]
        self._texts = {name: text.strip() for name, text in zip(names, texts, strict=True)}
        if len(self._texts) != len(names):
            raise ValueError(f"{path.name} names a statement twice")

    def __getitem__(self, name: str) -> LiteralString:
        # The text comes from a file of this package, never from outside.
        return cast("LiteralString", self._texts[name])


@cache
def queries_beside(module_file: str) -> Queries:
    """Load `queries.sql` from the folder of the module whose `__file__` is given."""
    return Queries(Path(module_file).with_name("queries.sql"))
