"""Is the answer plausible for this cluster? What is not, a person decides (`hours accept`).

The idle row is nobody's: what is implausible about it is told in the remarks and fails no hour.
"""

import numpy as np
from numpy.typing import NDArray

from core.money import NANO_MAX, text_from_nano
from core.opencost.answer import IDLE, Answer, Complaint, IntArray, Limits
from core.opencost.words import some

_CORE_HOURS, _GPU_HOURS, _RAM_BYTE_HOURS = 0, 1, 2
HOUR_MAX_NANO = NANO_MAX // 25
"""Of all figures of an hour together: a day of such hours can still be added up in a BIGINT."""
USED_MAX = 2.5e17
"""Of any one quantity of all namespaces in an hour; with the idle row's 10¹⁷, a day of it fits too."""
SURELY_BELOW = 0.999
NAME_CHARS_MAX = 253
"""Of a namespace and of a cluster's id: Kubernetes allows 63, OpenCost's own rows are as short."""


def judge_limits(answer: Answer, limits: Limits, hours: float) -> None:
    """Add complaints: cost or hours beyond `limits`, no sentinel, what could not be stored."""
    if limits.sentinel and limits.sentinel not in answer.names:
        answer.complaints.append(
            Complaint(
                "no-sentinel",
                f"The namespace {limits.sentinel!r}, which always runs, is missing: OpenCost or"
                " its Prometheus knows only a part of this hour.",
            )
        )
    _judge_names(answer)
    spent = spent_nano(answer.money).sum(axis=0)
    used = used_most(answer.quantities).max(axis=0, initial=0)
    quantities = used_all(answer.quantities[answer.special != IDLE]).sum(axis=0)
    if spent.sum() > HOUR_MAX_NANO:
        _refuse_sum(answer, f"more than {text_from_nano(HOUR_MAX_NANO)}")
    if quantities.max(initial=0) > USED_MAX:
        _refuse_sum(answer, "more bytes or hours than a day of them could be added up")
    if surely_plausible(spent, used, quantities, limits, hours):
        return
    _judge_cost(answer, limits.cost_max_nano * hours, limits)
    _judge_hours(answer, limits, hours)


def spent_nano(money: IntArray) -> NDArray[np.float64]:
    """Return what each figure of money is, its sign aside, for a rough sum over rows."""
    return np.abs(money).astype(np.float64)


def used_most(quantities: IntArray) -> IntArray:
    """Return the CPU, GPU and memory hours of each row, signs aside."""
    return np.abs(quantities[:, :3])


def used_all(quantities: IntArray) -> NDArray[np.float64]:
    """Return each quantity, its sign aside, for a rough sum over rows."""
    return np.abs(quantities).astype(np.float64)


def surely_plausible(
    spent: NDArray[np.float64],
    used: IntArray,
    quantities: NDArray[np.float64],
    limits: Limits,
    hours: float,
) -> bool:
    """Say whether nothing can be beyond `limits`, from sums of `spent_nano`, `used_all`, and most used.

    Almost every answer is far below every limit, which two rough looks tell: floating-point sums
    err by less than the part that they leave here.
    """
    most = (limits.cores_max * 10**6, limits.gpus_max * 10**6, limits.ram_max_bytes)
    figures = spent.tolist()
    return (
        sum(figures) <= HOUR_MAX_NANO
        and max(figures) <= limits.cost_max_nano * hours * SURELY_BELOW
        and max(quantities.tolist()) <= USED_MAX * SURELY_BELOW
        and all(each <= limit * hours for each, limit in zip(used.tolist(), most, strict=True))
    )


def _judge_names(answer: Answer) -> None:
    """Structural: no database and no screen can hold them."""
    names = answer.names
    if not names_usable(answer.cluster_id, names):
        wrong = [name or "(empty)" for name in names if not _usable(name, [name])]
        message = f"{len(wrong)} namespaces ({some(wrong)}) or the cluster's id cannot be names."
        answer.complaints.append(Complaint("no-name", message))


def names_usable(cluster_id: str | None, names: list[str]) -> bool:
    """Say whether a database and a screen can hold these names."""
    cluster = cluster_id or ""
    return _usable("".join(names), names) and _usable(cluster, [cluster or "none"])


def _usable(text: str, names: list[str]) -> bool:
    return text.isprintable() and all(names) and max(map(len, names), default=0) <= NAME_CHARS_MAX


def _refuse_sum(answer: Answer, beyond: str) -> None:
    """Structural: an hour that nobody can add up would hold up posting for every cluster."""
    message = f"The hour's figures add up to {beyond}."
    answer.complaints.append(Complaint("out-of-range", message))


def _judge_cost(answer: Answer, most_nano: float, limits: Limits) -> None:
    """Each kind by itself as well: a total may look harmless where its parts are absurd."""
    somebody = answer.special != IDLE
    spent = max(_spent(answer, somebody))
    if spent > most_nano:
        answer.complaints.append(
            Complaint(
                "implausible-cost",
                f"The hour costs {text_from_nano(spent)}, the cluster's limit is"
                f" {text_from_nano(limits.cost_max_nano)}. If it is right, accept the hour, or"
                " raise the limit with `hopsmeter cluster edit … --cost-max`.",
            )
        )
    if max(_spent(answer, ~somebody)) > most_nano:
        _remark_idle(answer)


def _spent(answer: Answer, rows: NDArray[np.bool_]) -> list[int]:
    """Return what each column of `rows` holds, signs aside; halves, since whole rows may not fit."""
    figures = np.abs(answer.money[rows])
    high, low = (figures >> 32).sum(axis=0), (figures & 0xFFFFFFFF).sum(axis=0)
    return [(int(a) << 32) + int(b) for a, b in zip(high, low, strict=True)]


def _judge_hours(answer: Answer, limits: Limits, hours: float) -> None:
    somebody = answer.special != IDLE
    for column, most, word in (
        (_CORE_HOURS, limits.cores_max * 10**6, "CPU core-hours"),
        (_GPU_HOURS, limits.gpus_max * 10**6, "GPU-hours"),
        (_RAM_BYTE_HOURS, limits.ram_max_bytes, "RAM byte-hours"),
    ):
        beyond = np.abs(answer.quantities[:, column]) > most * hours
        if (beyond & somebody).any():
            named = some([answer.names[row] for row in np.flatnonzero(beyond & somebody)])
            answer.complaints.append(
                Complaint(
                    "implausible-hours",
                    f"{named}: more {word} than the whole cluster can have.",
                )
            )
        if (beyond & ~somebody).any():
            _remark_idle(answer)


def _remark_idle(answer: Answer) -> None:
    if "idle-implausible" not in answer.remarks:
        answer.remarks.append("idle-implausible")
