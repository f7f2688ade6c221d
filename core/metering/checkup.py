"""The judged end of `hopsmeter cluster check`: does OpenCost answer so that we could store it?

It asks as a collection does, in the visit that walked the way there, and stores nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

import psycopg

from core.clock import HOUR, hour_text, last_closed_hour, monotonic_s
from core.clusters.cluster import find_cluster
from core.clusters.connection import CheckStep, Reach
from core.clusters.connection.access import Outcome
from core.db.queries import queries_beside
from core.errors import AnswerRefused, ClusterFault
from core.metering.policy import Policy
from core.money import text_from_nano
from core.opencost.answer import Answer, Complaint, Fault, Limits
from core.opencost.ask import allocation_path
from core.opencost.read import read_answer

LOOK_BACK: Final = timedelta(days=15)
"""How far back is looked at least: what a Prometheus keeps by default."""
MARGIN: Final = timedelta(hours=48)
"""Less than this between what we still want and what OpenCost forgets is a warning."""
ASKS_MAX: Final = 10
"""One for the far end, nine to halve 15 days and the margin to the hour."""
LOOK_BACK_S: Final = 45.0
LOOK_ONE_S: Final = 15.0
EXPIRY_WARN: Final = timedelta(days=14)

NAMES: Final = ("opencost", "answer", "cluster id", "sentinel", "limits", "idle", "history")
"""The steps after the walk's, in order."""
_STEP_OF: Final[dict[Fault, str]] = {
    "two-clusters": "cluster id",
    "other-cluster": "cluster id",
    "no-sentinel": "sentinel",
    "implausible-cost": "limits",
    "implausible-hours": "limits",
}
"""All other faults are of the step `answer`."""
_SQL: Final = queries_beside(__file__)

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Patient:
    """What we know of a cluster before it is visited; `missing` are closed hours, oldest first,
    that are not in the books and that somebody still wants.
    """

    name: str
    currency: str
    limits: Limits
    newest: datetime
    missing: tuple[datetime, ...]
    credentials_expire_at: datetime | None


def patient(connection: Connection, name: str, now: datetime) -> Patient:
    """Read what a check compares with; Unknown where there is no such cluster."""
    cluster = find_cluster(connection, name)
    newest = last_closed_hour(now, Policy().delay)
    rows = connection.execute(
        _SQL["missing_hours"], {"cluster_id": cluster.id, "newest": newest}
    ).fetchall()
    return Patient(
        name=name,
        currency=cluster.currency,
        limits=Limits(
            cluster.cost_max_nano,
            cluster.cores_max,
            cluster.gpus_max,
            cluster.ram_max_bytes,
            cluster.sentinel_namespace,
            cluster.opencost_cluster_id,
        ),
        newest=newest,
        missing=tuple(row[0] for row in rows),
        credentials_expire_at=cluster.credentials_expire_at,
    )


def check_cluster(visit: Reach, of: Patient, now: datetime) -> list[CheckStep]:
    """Walk to OpenCost, have it answer for the last closed hour, and look how far back it knows.

    What it meets is in the steps, never raised; where the walk ends, the rest is not reached.
    """
    walked = [_with_expiry(step, of, now) for step in visit.check()]
    if any(step.outcome in ("fail", "not reached") for step in walked):
        return walked + _not_reached(NAMES)
    begun_s = monotonic_s()
    try:
        body = visit.get(allocation_path(of.newest))
    except ClusterFault as fault:
        failed = CheckStep("opencost", "fail", fault.said, fault.cure or _SEE_LOGS)
        return [*walked, failed, *_not_reached(NAMES[1:])]
    took_s = monotonic_s() - begun_s
    saw = f"answers for {hour_text(of.newest)} in {took_s:.1f} s, {len(body)} bytes."
    return [*walked, CheckStep("opencost", "ok", saw), *_judged(visit, of, body)]


_SEE_LOGS: Final = "See the logs of the OpenCost pod and of its Prometheus."


def _judged(visit: Reach, of: Patient, body: bytes) -> list[CheckStep]:
    try:
        answer = read_answer(body, of.newest, of.limits)
    except AnswerRefused as refused:
        saw = f"{refused.fault}: {refused.message}"
        failed = CheckStep("answer", "fail", saw, "Hours that answer like this are not stored.")
        return [failed, *_not_reached(NAMES[2:])]
    return [*_shape(answer, of), _history(visit, of)]


def _not_reached(names: tuple[str, ...]) -> list[CheckStep]:
    return [CheckStep(name, "not reached", "") for name in names]


def _with_expiry(step: CheckStep, of: Patient, now: datetime) -> CheckStep:
    """Where nobody answered, say what the register knows of the credentials."""
    until = of.credentials_expire_at
    if step.name != "credentials" or step.outcome != "not reached" or until is None:
        return step
    left = until - now
    word = f"{left.days} days" if left > timedelta(0) else "past"
    saw = f"not reached; by their own word good until {until:%Y-%m-%d} ({word})."
    if left >= EXPIRY_WARN:
        return CheckStep(step.name, "not reached", saw)
    cure = f"Make new ones, then `hopsmeter cluster edit {of.name} --kubeconfig FILE`."
    return CheckStep(step.name, "warn", saw, cure)


def _shape(answer: Answer, of: Patient) -> Iterator[CheckStep]:
    """Yield a step for each thing that is judged, and one for each complaint about it."""
    good = {
        "answer": f"{len(answer.names)} rows, {text_from_nano(answer.total_nano)} {of.currency}"
        " for the hour.",
        "cluster id": _source(answer, of),
        "sentinel": f"{of.limits.sentinel} is there." if of.limits.sentinel else "none is set.",
        "limits": "cost and hours are within what is plausible.",
    }
    refused = any(each.structural for each in answer.complaints)
    for name, saw in good.items():
        wrong = [each for each in answer.complaints if _STEP_OF.get(each.fault, "answer") == name]
        told = [_complaint(name, each, of, refused=refused) for each in wrong]
        yield from told or [CheckStep(name, "ok", saw)]
    yield _idle(answer)


def _source(answer: Answer, of: Patient) -> str:
    if answer.cluster_id is None:
        return "OpenCost tells none."
    known = "as registered" if of.limits.cluster_id else "registered with the first stored hour"
    return f"{answer.cluster_id}, {known}."


def _complaint(name: str, each: Complaint, of: Patient, *, refused: bool) -> CheckStep:
    """Tell a complaint; a person may overrule judgement, but not in an answer that is `refused`."""
    outcome: Outcome = "fail" if each.structural else "warn"
    if each.structural:
        cure = "Such hours are refused, and nothing of them is stored."
    elif refused:
        cure = "Nobody is asked about this as long as the answer is refused for what it is."
    else:
        cure = f"Such hours wait for a person: `hopsmeter hours accept {of.name} HOUR`."
    return CheckStep(name, outcome, f"{each.fault}: {each.message}", cure)


_REMARKS: Final = {
    "negative-cost": "a cost below zero",
    "negative-minutes": "minutes below zero without money",
    "parts-differ": "parts that do not add up to their total",
    "idle-unreadable": "an idle row that cannot be read",
    "idle-implausible": "an idle row beyond the limits",
}


def _idle(answer: Answer) -> CheckStep:
    """Tell what is kept although it is odd, which is mostly the idle row's."""
    if answer.remarks:
        said = ", ".join(f"{_REMARKS[each]} ({each})" for each in answer.remarks)
        cure = "Kept as reported and flagged; it fails no hour and is charged to nobody by itself."
        return CheckStep("idle", "warn", f"{said}.", cure)
    saw = "nothing odd." if "__idle__" in answer.names else "OpenCost reports no idle row."
    return CheckStep("idle", "ok", saw)


def _history(visit: Reach, of: Patient) -> CheckStep:
    far = of.newest - LOOK_BACK
    if of.missing:
        far = min(far, of.missing[0] - MARGIN)
    known, unknown, cut = _look_back(visit, of, far)
    if unknown is None:
        return CheckStep("history", "ok", f"at least back to {hour_text(known)}.")
    if cut:
        saw = f"at least back to {hour_text(known)}; {cut}."
        return CheckStep("history", "warn", saw, _SEE_LOGS)
    about = "about " if known - unknown > HOUR else ""
    saw = f"back to {about}{hour_text(known)} ({_span(of.newest - known)})."
    cure = _shortage(of, known)
    return CheckStep("history", "warn" if cure else "ok", saw, cure)


def _shortage(of: Patient, known: datetime) -> str:
    """Say what is lost, or soon will be; empty where there is time."""
    lost = sum(hour < known for hour in of.missing)
    if lost:
        return (
            f"Hours that are older, and missing in the books: {lost}. They will become gaps; only"
            " a Prometheus that still has them could mend that."
        )
    if (of.missing[0] if of.missing else of.newest) - known >= MARGIN:
        return ""
    return (
        f"That is less than {MARGIN // HOUR} hours beyond what is still wanted. If the cluster is"
        " new, it grows by itself; else let Prometheus keep 15 days, or hours are lost while"
        " hopsmeter is away."
    )


def _span(span: timedelta) -> str:
    hours = span // HOUR
    return f"{hours // 24} days" if hours >= 48 else f"{hours} hours"


def _look_back(visit: Reach, of: Patient, far: datetime) -> tuple[datetime, datetime | None, str]:
    """Halve the way from `far` to the newest hour; return the oldest hour found with data, the
    newest older one without (None: `far` has data), and a remark where the look was cut short.
    """
    begun_s = monotonic_s()
    visit.limits = replace(visit.limits, answer_s=min(visit.limits.answer_s, LOOK_ONE_S))
    known, unknown = of.newest, far - HOUR
    candidate = far
    for _ in range(ASKS_MAX):
        if monotonic_s() - begun_s > LOOK_BACK_S:
            return known, unknown, "it answers too slowly to look closer"
        try:
            body = visit.get(allocation_path(candidate))
        except ClusterFault:
            return known, unknown, f"{hour_text(candidate)} was not answered"
        if not _has_rows(body, candidate, of.limits):
            unknown = candidate
        elif candidate == far:
            return far, None, ""
        else:
            known = candidate
        if known - unknown <= HOUR:
            break
        candidate = unknown + ((known - unknown) // HOUR // 2) * HOUR
    return known, unknown, ""


def _has_rows(body: bytes, hour: datetime, limits: Limits) -> bool:
    try:
        return bool(read_answer(body, hour, limits).names)
    except AnswerRefused as refused:
        return refused.fault not in ("no-data", "error-answer")
