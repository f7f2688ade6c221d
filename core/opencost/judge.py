"""Is the answer plausible for this cluster? What is not, a person decides (`hours accept`)."""

import numpy as np

from core.money import text_from_nano
from core.opencost.answer import TOTAL, Answer, Complaint, Limits
from core.opencost.words import some

_CORE_HOURS, _GPU_HOURS, _RAM_BYTE_HOURS = 0, 1, 2


def judge_limits(answer: Answer, limits: Limits, hours: float) -> None:
    """Add complaints of judgement: cost or hours beyond `limits`, the sentinel missing."""
    if limits.sentinel and limits.sentinel not in answer.names:
        answer.complaints.append(
            Complaint(
                "no-sentinel",
                f"The namespace {limits.sentinel!r}, which always runs, is missing: OpenCost or"
                " its Prometheus knows only a part of this hour.",
            )
        )
    _judge_cost(answer, limits, hours)
    _judge_hours(answer, limits, hours)


def _judge_cost(answer: Answer, limits: Limits, hours: float) -> None:
    spent = sum(abs(each) for each in answer.money[:, TOTAL].tolist())
    if spent > limits.cost_max_nano * hours:
        answer.complaints.append(
            Complaint(
                "implausible-cost",
                f"The hour costs {text_from_nano(spent)}, the cluster's limit is"
                f" {text_from_nano(limits.cost_max_nano)}. If it is right, accept the hour, or"
                " raise the limit with `hopsmeter cluster edit … --cost-max`.",
            )
        )


def _judge_hours(answer: Answer, limits: Limits, hours: float) -> None:
    for column, most, word in (
        (_CORE_HOURS, limits.cores_max * 10**6, "CPU core-hours"),
        (_GPU_HOURS, limits.gpus_max * 10**6, "GPU-hours"),
        (_RAM_BYTE_HOURS, limits.ram_max_bytes, "RAM byte-hours"),
    ):
        beyond = np.abs(answer.quantities[:, column]) > most * hours
        if beyond.any():
            named = some([answer.names[row] for row in np.flatnonzero(beyond)])
            answer.complaints.append(
                Complaint(
                    "implausible-hours",
                    f"{named}: more {word} than the whole cluster can have.",
                )
            )
