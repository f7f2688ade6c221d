"""What the table classes stand on. Migrations make the tables; the classes say what they are.

A test holds the classes against a migrated database. They stay in the room that stores them: what
leaves it is a frozen dataclass. Only what writes in the ordinary way imports them, never a screen
(an ORM takes longer to load than a list takes to show) and never the hot path.
"""

from typing import Annotated, Any, ClassVar

from sqlalchemy import ARRAY, BigInteger, Identity, LargeBinary, MetaData, SmallInteger, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

SCHEMA = "hopsmeter"

# A plain `str` is the database's varchar, and does for its `name`; a plain `datetime` must be
# aware, and comes back in UTC.
Words = Annotated[str, Field(sa_type=Text)]
Said = Annotated[str | None, Field(sa_type=Text)]
Name = str
Big = Annotated[int, Field(sa_type=BigInteger)]
Bytes = Annotated[bytes | None, Field(sa_type=LargeBinary)]
Small = Annotated[int, Field(sa_type=SmallInteger)]
WordList = Annotated[list[str], Field(sa_type=ARRAY(Text))]
Json = Annotated[Any, Field(sa_type=JSONB, nullable=True)]


class Table(SQLModel):
    """The ground of every table class: one MetaData, and the schema written out."""

    metadata: ClassVar[MetaData] = MetaData(schema=SCHEMA)


def column_of(table: type[Table], column: str) -> str:
    """Name the column that a foreign key points to; asking for the class makes sure it is known."""
    return f"{SCHEMA}.{table.__tablename__}.{column}"


def numbered(*, big: bool = False, key: bool = True) -> Any:
    """Return a field that the database numbers; a value of ours would be refused."""
    kind: dict[str, Any] = {"sa_type": BigInteger} if big else {}
    return Field(
        default=None,
        primary_key=key,
        unique=not key,
        nullable=False,
        sa_column_args=[Identity(always=True)],
        **kind,
    )


def stamped(expression: str = "now()", **more: Any) -> Any:
    """Return a field that the database fills where we say nothing."""
    return Field(
        default=None, nullable=False, sa_column_kwargs={"server_default": text(expression)}, **more
    )
