"""What one answer of OpenCost says, as exact integers, and what is wrong with it."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from core.errors import AnswerRefused

Fault = Literal[
    "not-json",
    "error-answer",
    "no-data",
    "several-sets",
    "other-window",
    "two-clusters",
    "other-cluster",
    "double-name",
    "no-name",
    "no-number",
    "out-of-range",
    "minutes",
    "implausible-cost",
    "implausible-hours",
    "no-sentinel",
]

JUDGEMENT: Final[frozenset[Fault]] = frozenset(
    {"minutes", "implausible-cost", "implausible-hours", "no-sentinel"}
)
"""Faults that a person may overrule (`hours accept`); the others cannot be stored at all."""

UNMAPPED, USER, SYSTEM, IDLE, UNMOUNTED = 0, 1, 2, 3, 4
"""Codes of hopsmeter.allocation_kinds."""

FLAG_NEGATIVE_COST, FLAG_NEGATIVE_MINUTES, FLAG_VANISHED = 1, 2, 4
FLAG_WORDS: Final = {1: "negative-cost", 2: "negative-minutes", 4: "vanished"}

MONEY_COLUMNS: Final = (
    "cpu_nano",
    "gpu_nano",
    "ram_nano",
    "pv_nano",
    "network_nano",
    "load_balancer_nano",
    "shared_nano",
    "external_nano",
    "adjustment_nano",
    "rounding_nano",
    "total_nano",
)
QUANTITY_COLUMNS: Final = (
    "cpu_core_hours_micro",
    "gpu_hours_micro",
    "ram_byte_hours",
    "pv_byte_hours",
    "network_transfer_bytes",
    "network_receive_bytes",
    "minutes_micro",
)
TOTAL: Final = len(MONEY_COLUMNS) - 1

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Complaint:
    """One thing that is wrong: `fault` names it, `message` says it to an operator."""

    fault: Fault
    message: str

    @property
    def structural(self) -> bool:
        return self.fault not in JUDGEMENT


@dataclass(frozen=True)
class Limits:
    """What is plausible for one cluster and hour; beyond it a person decides."""

    cost_max_nano: int
    cores_max: int
    gpus_max: int
    ram_max_bytes: int
    sentinel: str
    cluster_id: str | None = None
    """OpenCost's own id of the cluster, None until the first answer told it."""


@dataclass(frozen=True)
class Summary:
    """What the window of an hour keeps of its answer."""

    rows: int
    total_nano: int
    remarks: list[str]
    cluster_id: str | None


@dataclass(frozen=True, eq=False)
class Answer:
    """The rows of one answer: row i is namespace `names[i]`, in OpenCost's order.

    `money` is (rows, 11) nano-units in the order of MONEY_COLUMNS, `quantities` (rows, 7) in
    that of QUANTITY_COLUMNS, `efficiency_ppm` -1 where there is none, `special` IDLE or UNMOUNTED
    for those rows and 0 else, `flags` bits of FLAG_WORDS.
    """

    window: tuple[datetime, datetime] | None
    cluster_id: str | None
    names: list[str]
    special: NDArray[np.int16]
    flags: NDArray[np.int16]
    money: IntArray
    quantities: IntArray
    efficiency_ppm: NDArray[np.int32]
    complaints: list[Complaint] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    """Words for what was kept although it is odd: they go to the window's flags."""

    @property
    def total_nano(self) -> int:
        return sum(self.money[:, TOTAL].tolist())

    @property
    def summary(self) -> Summary:
        return Summary(len(self.names), self.total_nano, self.remarks, self.cluster_id)

    @property
    def refusal(self) -> Complaint | None:
        """Return the complaint that decides: a structural one before one of judgement."""
        return min(self.complaints, key=lambda each: not each.structural, default=None)

    def require_believable(self, *, accepted: bool = False) -> None:
        """Raise AnswerRefused for the deciding complaint; `accepted` lets judgement pass."""
        refusal = self.refusal
        if refusal and (refusal.structural or not accepted):
            raise AnswerRefused(refusal.fault, refusal.message, structural=refusal.structural)
