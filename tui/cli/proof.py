"""One hour explained, `hopsmeter books check`, `opencost read`: where figures come from, and that they agree."""

import json
import sys
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from core.clock import hour_text, parse_hour
from core.clusters.cluster import CORES_MAX, COST_MAX_NANO, GPUS_MAX, RAM_MAX_BYTES
from core.errors import AnswerRefused, InputFault
from core.money import text_from_nano
from core.rates.factor import factor_text
from tui.cli.cluster import MARKS
from tui.cli.months import close, months
from tui.cli.output import (
    Column,
    Form,
    instant,
    listing,
    money,
    pairs,
    plain,
    say,
    show,
    show_json,
    table,
)
from tui.cli.session import Session
from tui.cli.words import HOUR_TEXT, MONTH_TEXT
from tui.format import NOTHING, clean

if TYPE_CHECKING:
    from core.books.explain import Explanation
    from core.opencost.answer import Answer
    from core.rates.charge import ChargeLine

DECIMALS: Final = 5
"""OpenCost prints as many."""
NANO_DECIMALS: Final = 9
FILE_BYTES_MAX: Final = 1 << 30
KIND_WORDS: Final = {0: "namespace", 3: "idle", 4: "unmounted"}


def explain_hour(session: Session, cluster: str, namespace: str, at: str, as_json: bool) -> None:
    """Go back from one figure to its owner, its plan, and OpenCost's own answer."""
    from core.books.explain import explain as explained

    hour = parse_hour(at)
    with session.connection(read_only=True) as connection:
        who = session.principal(connection)
        found = explained(connection, who, cluster, namespace, hour)
    if as_json:
        show_json(plain(found))
    else:
        _tell(found)


def _tell(found: "Explanation") -> None:
    currency = found.currency

    def amount(nano: int) -> str:
        return money(nano, currency, DECIMALS)

    asked = f", {found.raw_size_bytes} bytes, asked {instant(found.raw_asked_at)}"
    pairs(
        [
            ("hour", f"{found.cluster} {hour_text(found.hour)}, {found.state}"),
            ("", found.window_why),
            ("namespace", f"{found.namespace} ({found.kind})"),
            ("user", found.user or "nobody"),
            ("owned", found.period),
            ("project", found.project),
            ("account", found.account or ""),
            ("plan", _plan(found)),
            ("charge", amount(found.charge_nano)),
            *(("", _line(line, currency)) for line in found.charge_lines),
            ("margin", amount(found.margin_nano) if found.margin_nano is not None else ""),
            *(
                (name.removesuffix("_nano").replace("_", " "), amount(nano))
                for name, nano in found.money.items()
                if nano
            ),
            ("flags", ", ".join(found.flags)),
            ("revision", str(found.revision)),
            ("answer", f"SHA-256 {found.raw_sha256}{asked}" if found.raw_sha256 else ""),
            ("", "" if found.raw_row else "The answer itself is not kept any more."),
            *(
                (
                    "before",
                    f"revision {each.revision}: {amount(each.total_nano)}, {each.user or 'nobody'}"
                    + (f", {each.plan}: {each.charges}" if each.plan else "")
                    + f"; replaced {instant(each.replaced_at)}: {each.why}",
                )
                for each in found.history
            ),
        ]
    )
    if found.raw_row:
        click.echo("\nOpenCost said:")
        click.echo(json.dumps(json.loads(found.raw_row), ensure_ascii=True))


def _plan(found: "Explanation") -> str:
    if found.plan_since is None:
        return ""
    return f"{found.plan}: {found.charges}, its version from {hour_text(found.plan_since)} on"


def _line(line: "ChargeLine", currency: str) -> str:
    """Return a line of a charge: `cpu: 1.5 core-hours less 0.5 free × 0.03 = 0.03 USD`."""
    figure = f"{_digits(line.quantity)} {line.unit or currency}"
    if line.free:
        figure = f"({figure} less {_digits(line.free)} free)"
    amount = _digits(line.amount_nano.scaleb(-NANO_DECIMALS))
    return f"{line.what}: {figure} × {factor_text(line.price)} = {amount} {currency}"


def _digits(number: Decimal) -> str:
    """Return a number to the nano; `…` says that its digits go on."""
    text = factor_text(number)
    whole, _, part = text.partition(".")
    return text if len(part) <= NANO_DECIMALS else f"{whole}.{part[:NANO_DECIMALS]}…"


@click.group()
def books() -> None:
    """The proof that everything agrees."""


@books.command(
    "check",
    short_help="Prove the books; exit 1 if they do not balance.",
    epilog="\b\nExample:\n  hopsmeter books check --month 2026-03",
)
@click.option(
    "--month", type=MONTH_TEXT, metavar="YYYY-MM", help="Only this month; else all there is."
)
@listing
@click.pass_obj
def check(session: Session, month: str | None, form: Form) -> None:
    """Prove the books: a line for each invariant; exit 1 if one fails, naming the rows."""
    from core.books.checks import check_books

    with session.connection(read_only=True) as connection:
        lines = check_books(connection, session.now(), month=month)
    if form != "table":
        show(form, lines, (), empty="")
    else:
        for line in lines:
            mark = MARKS["ok"] if line.ok else MARKS["fail"]
            say(f"{mark} {line.number}  {line.title}: {line.detail}", hang=5)
            for row in line.rows:
                say(f"     {row}", hang=7)
        wrong = sum(not line.ok for line in lines)
        click.echo("The books balance." if not wrong else f"{wrong} of {len(lines)} are wrong.")
    if not all(line.ok for line in lines):
        raise SystemExit(1)


books.add_command(close)
books.add_command(months)


@click.group()
def opencost() -> None:
    """What OpenCost answers, read by itself; needs no database."""


@opencost.command(
    "read",
    short_help="Say what we make of a recorded answer.",
    epilog="\b\nExample:\n  hopsmeter opencost read answer.json --hour 2026-03-01T14Z",
)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@click.option(
    "--hour",
    "at",
    type=HOUR_TEXT,
    metavar="HOUR",
    help="The hour it should be of; else what it says.",
)
@click.option("--sentinel", default="kube-system", show_default=True, help="'' for none.")
@click.option("--currency", default="USD", show_default=True, help="What its prices are in.")
@listing
def read(file: Path, at: str | None, sentinel: str, currency: str, form: Form) -> None:
    """Say what we make of a recorded answer; exit 1 if the hour would be refused."""
    from core.opencost.answer import Limits
    from core.opencost.read import read_answer

    limits = Limits(COST_MAX_NANO, CORES_MAX, GPUS_MAX, RAM_MAX_BYTES, sentinel)
    hour = parse_hour(at) if at else None
    try:
        answer = read_answer(_body(file), hour, limits)
    except AnswerRefused as refused:
        if form == "json":
            show_json({"refused": refused.fault, "message": str(refused)})
        else:
            click.echo(clean(f"refused ({refused.fault}): {refused}"), err=True)
        raise SystemExit(1) from None
    _tell_answer(answer, currency, form)
    if answer.refusal:
        raise SystemExit(1)


def _body(file: Path) -> bytes:
    try:
        if str(file) == "-":
            return sys.stdin.buffer.read(FILE_BYTES_MAX)
        with file.open("rb") as opened:
            return opened.read(FILE_BYTES_MAX)
    except OSError as fault:
        raise InputFault(f"{file} cannot be read: {fault.strerror}.") from None


def _tell_answer(answer: "Answer", currency: str, form: Form) -> None:
    rows = _rows(answer, currency)
    complaints = [
        {"fault": each.fault, "message": each.message, "structural": each.structural}
        for each in answer.complaints
    ]
    if form == "json":
        window = [at.isoformat() for at in answer.window] if answer.window else None
        show_json(
            {
                "window": window,
                "cluster_id": answer.cluster_id,
                "currency": currency,
                "total_nano": answer.total_nano,
                "rows": rows,
                "remarks": answer.remarks,
                "complaints": complaints,
            }
        )
        return
    if form == "csv":
        show(form, rows, (), empty="")
    else:
        table(rows, _columns(currency))
        click.echo()
        pairs(_sums(answer, currency))
    for each in complaints:
        weight = "never stored" if each["structural"] else "a person may accept it"
        click.echo(clean(f"refused ({each['fault']}, {weight}): {each['message']}"), err=True)


def _sums(answer: "Answer", currency: str) -> list[tuple[str, str]]:
    window = ""
    if answer.window:
        window = " to ".join(f"{at:%Y-%m-%dT%H:%MZ}" for at in answer.window)
    return [
        ("window", window),
        ("cluster id", answer.cluster_id or "none told"),
        ("namespaces", str(len(answer.names))),
        ("total", money(answer.total_nano, currency, DECIMALS)),
        ("kept, though odd", ", ".join(answer.remarks)),
        ("verdict", "refused" if answer.refusal else "would be stored"),
    ]


def _rows(answer: "Answer", currency: str) -> list[dict[str, Any]]:
    from core.opencost.answer import FLAG_WORDS, MONEY_COLUMNS, QUANTITY_COLUMNS

    return [
        {
            "namespace": name,
            "kind": KIND_WORDS[special],
            "currency": currency,
            **dict(zip(MONEY_COLUMNS, money_row, strict=True)),
            **dict(zip(QUANTITY_COLUMNS, quantity_row, strict=True)),
            "flags": ",".join(word for bit, word in FLAG_WORDS.items() if flags & bit),
        }
        for name, special, money_row, quantity_row, flags in zip(
            answer.names,
            answer.special.tolist(),
            answer.money.tolist(),
            answer.quantities.tolist(),
            answer.flags.tolist(),
            strict=True,
        )
    ]


def _columns(currency: str) -> tuple[Column, ...]:
    def amount(name: str) -> Column:
        def cell(row: dict[str, Any]) -> str:
            nano = row[f"{name}_nano"]
            return text_from_nano(nano, DECIMALS) if nano else NOTHING

        return Column(f"{name} {currency}", cell, "right")

    return (
        Column("namespace", lambda row: row["namespace"]),
        Column("minutes", lambda row: f"{row['minutes_micro'] / 1e6:g}", "right"),
        *(amount(name) for name in ("cpu", "gpu", "ram", "pv", "network", "total")),
        Column("flags", lambda row: row["flags"]),
    )
