"""What passes between asking, storing and deciding: one claimed hour and what came of it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from core.opencost.answer import Answer, Limits
from core.opencost.read import read_answer


@dataclass(frozen=True)
class Claim:
    """One hour of one cluster that is ours until its lease ends."""

    cluster_id: int
    cluster: str
    hour: datetime
    token: UUID
    tries: int
    revision: int
    raw_sha256: bytes | None
    """The answer that the stored allocations come from, None where nothing is stored."""
    lease_pid: int
    """The backend that will store; whoever takes over ends it first."""


def keys_of(claims: Sequence[Claim]) -> dict[str, str]:
    """Return what finds claimed windows by their primary key, and proves that they are ours.

    As PostgreSQL writes arrays of numbers, instants and UUIDs: to have three lists of 200 adapted
    one by one takes milliseconds in each store.
    """
    return {
        "clusters": _array(str(claim.cluster_id) for claim in claims),
        "hours": _array(claim.hour.isoformat() for claim in claims),
        "tokens": _array(claim.token.hex for claim in claims),
    }


def _array(words: Iterable[str]) -> str:
    return "{" + ",".join(words) + "}"


def key_of(claim: Claim) -> dict[str, Any]:
    """As `keys_of`, for one."""
    return {"cluster_id": claim.cluster_id, "hour": claim.hour, "token": claim.token}


@dataclass(frozen=True)
class RawAnswer:
    """The bytes of an answer as they are kept: `body` is zstd, None beyond the size cap."""

    sha256: bytes
    size_bytes: int
    body: bytes | None
    asked_at: datetime


@dataclass(frozen=True)
class Asked:
    """An answer as it came, to be read and stored; `limits` say what is plausible of it."""

    claim: Claim
    body: bytes
    limits: Limits
    raw: RawAnswer

    def read(self) -> "Fetched":
        """Read it with care; AnswerRefused where it cannot be believed."""
        answer = read_answer(self.body, self.claim.hour, self.limits)
        answer.require_believable()
        return Fetched(self.claim, answer, self.raw)


@dataclass(frozen=True)
class Fetched:
    """An answer that may be stored: it was read, and found believable or accepted."""

    claim: Claim
    answer: Answer
    raw: RawAnswer
    accepted_by: str | None = None
    """The person who overruled a refusal or a held re-read, and why."""
    why: str = ""


Outcome = Literal["stored", "revised", "unchanged", "held"]


@dataclass(frozen=True)
class Stored:
    """What storing one hour did: `rows` written, `cost_nano` the hour's total now."""

    claim: Claim
    outcome: Outcome
    rows: int
    cost_nano: int
    why: str = ""
    source: str | None = None
    """OpenCost's own id of the cluster, as the answer gives it."""


LimitsOf = Callable[[int], Limits]
