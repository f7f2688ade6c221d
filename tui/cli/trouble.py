"""What is the matter with hours, in words: hours in the same trouble are told together."""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final, Literal, get_args

from core.clock import HOUR, hour_text
from core.reports.hours import HourLine
from tui.cli.output import instant, money
from tui.format import clean

WIDTH: Final = 80
_WAITING: Final = ("failed", "refused", "held", "gap")


@dataclass(frozen=True)
class Trouble:
    """Hours of one cluster that follow each other and have the same thing the matter."""

    cluster: str
    head: str
    why: str
    way_out: str
    lines: tuple[HourLine, ...]


def troubles(lines: Sequence[HourLine]) -> list[Trouble]:
    """Return what is the matter with these hours (oldest first), joined where it is the same."""
    return [
        Trouble(key[0], key[1], key[2], _way_out(joined), tuple(joined))
        for key, group in groupby(filter(_matters, lines), _key)
        for joined in _runs(list(group))
    ]


def tell(trouble: Trouble) -> Iterator[str]:
    """Yield the lines for people, none wider than WIDTH where words allow it."""
    first, last = trouble.lines[0].hour, trouble.lines[-1].hour
    when = hour_text(first)
    if len(trouble.lines) > 1:
        when += f" to {hour_text(last)} ({len(trouble.lines)} hours)"
    yield clean(f"{when}  {trouble.head}")
    for text, mark in ((trouble.why, "  "), (trouble.way_out, "→ ")):
        if text:
            wrapped = textwrap.wrap(
                clean(text), WIDTH - 4, break_long_words=False, break_on_hyphens=False
            )
            yield f"  {mark}{wrapped[0]}"
            yield from (f"    {line}" for line in wrapped[1:])


def in_short(found: Sequence[Trouble]) -> str:
    """Say all troubles of a cluster in a line: `2 refused (minutes); 1 gap`."""
    counts: dict[str, int] = {}
    for each in found:
        counts[each.head] = counts.get(each.head, 0) + len(each.lines)
    return clean("; ".join(f"{count} {head}" for head, count in counts.items()))


def _matters(line: HourLine) -> bool:
    return bool(line.state in _WAITING or line.fault or line.flags or line.accepted)


def _key(line: HourLine) -> tuple[str, str, str]:
    return line.cluster, _head(line), line.why


def _head(line: HourLine) -> str:
    said: str = line.state
    if line.fault and line.state not in _WAITING:
        said += ", a later answer refused" if line.pending_sha256 else ", not answered again"
    if line.fault:
        said += f" ({line.fault})"
    if line.accepted:
        said += f", accepted by {line.decided_by}"
    if line.flags:
        said += f", flagged {line.flags}"
    return said


def _runs(lines: list[HourLine]) -> Iterator[list[HourLine]]:
    """Split where an hour does not follow the one before it."""
    run: list[HourLine] = []
    for line in lines:
        if run and run[-1].hour + HOUR != line.hour:
            yield run
            run = []
        run.append(line)
    yield run


def _way_out(lines: list[HourLine]) -> str:
    """Say what a person may do about the first of these hours."""
    line = lines[0]
    hour = hour_text(line.hour)
    words = f"{line.cluster} {hour}"
    if line.state == "held" or (line.pending_sha256 and line.revision):
        stored = money(line.total_nano, line.currency)
        said = f"The books hold {stored}. `hopsmeter hours keep {words} --reason …` stays with that"
        possible = _acceptable(line.fault)
        if possible == "no":
            return f"{said}; the other answer cannot be stored at all."
        perhaps = ", if it can be stored" if possible == "perhaps" else ""
        return (
            f"{said}, `accept` takes the other answer{perhaps}; `--dry-run` shows the difference."
        )
    if line.state == "refused":
        possible = _acceptable(line.fault)
        if possible == "no":
            return (
                f"It cannot be stored at all. It is asked again {instant(line.next_try_at)};"
                f" `hopsmeter hours gap {words} --reason …` gives it up."
            )
        perhaps = ", if it can be stored" if possible == "perhaps" else ""
        return (
            f"`hopsmeter hours accept {words} --reason …` takes it as it is{perhaps}, `gap` gives"
            f" it up; it is asked again {instant(line.next_try_at)}."
        )
    if line.state == "gap":
        return (
            "Lost, and never counted as zero;"
            f" `hopsmeter collect {line.cluster} --hour {hour}` asks once more."
        )
    if line.fault:
        return (
            f"It is asked again {instant(line.next_try_at)}; `hopsmeter collect {line.cluster}` asks"
            f" now, `hopsmeter cluster check {line.cluster}` walks the way."
        )
    return ""


def _acceptable(fault: str) -> Literal["yes", "no", "perhaps"]:
    """Say whether the waiting answer may be accepted; `perhaps` where a later try hides its fault.

    A try that brought no answer leaves the waiting one as it is, and puts its own fault there.
    """
    # It brings numpy, which only this question pays for.
    from core.opencost.answer import JUDGEMENT, Fault

    if fault in JUDGEMENT or fault == "shrank":
        return "yes"
    return "no" if fault in get_args(Fault) and fault != "no-data" else "perhaps"
