"""Which invoices are asked about: those over usage in a span of instants, of all accounts or of one."""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final

_FIRST: Final = datetime(2000, 1, 1, tzinfo=UTC)
_LAST: Final = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Asked:
    """Invoices over usage in [since, until), at any time where nothing is said."""

    since: datetime = _FIRST
    until: datetime = _LAST
    account_no: int | None = None
    invoice: str | None = None

    @property
    def values(self) -> dict[str, Any]:
        return asdict(self)
