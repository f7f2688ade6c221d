"""Rates: versions of plans, and who pays by which."""

from decimal import Decimal
from typing import Any

from core.clock import hour_text, parse_hour
from core.commands.arguments import RatesAssign, RatesNew, RatesUnassign
from core.commands.kinds import Result, Task
from core.metering.assignments import PlanChange, assign_plan, unassign_plan
from core.metering.pricing import new_version
from core.money import text_from_nano
from core.rates.plans import BEGINNING
from core.rates.terms import Terms, read_terms, terms_text

DECIMALS = 5
"""As OpenCost prints; a factor near 1 would else move 0.00."""
FREE = Terms(Decimal(0))


def new(task: Task[RatesNew]) -> Result:
    given = task.arguments
    made = new_version(
        task.connection,
        task.principal,
        plan=given.plan,
        terms=read_terms(
            factor=given.factor,
            factors=given.factors,
            prices=given.prices,
            included=given.included,
        ),
        currency=given.currency,
        from_hour=parse_hour(given.from_hour) if given.from_hour else None,
        why=task.why,
        now=task.now,
    )
    now = terms_text(made.terms, made.currency)
    before = terms_text(made.terms_before, made.currency) if made.terms_before else None
    start = "for any hour" if made.since == BEGINNING else f"from {hour_text(made.since)} on"
    end = f" until {hour_text(made.until)}" if made.until else ""
    price = "nothing" if made.terms == FREE else now
    said = (
        f"{'The new plan' if made.is_new else 'The plan'} {made.plan} charges {price} {start}{end}"
    )
    said += f", instead of {before}." if before else "."
    return Result(
        said,
        {"charges": [before, now]},
        {"plan": made.plan, "from_hour": hour_text(made.since), "is_new": made.is_new},
    )


def assign(task: Task[RatesAssign]) -> Result:
    given = task.arguments
    change = assign_plan(
        task.connection,
        task.principal,
        account=given.account,
        plan=given.plan,
        from_hour=parse_hour(given.from_hour) if given.from_hour else None,
        why=task.why,
        now=task.now,
    )
    return _result(change)


def unassign(task: Task[RatesUnassign]) -> Result:
    given = task.arguments
    change = unassign_plan(
        task.connection,
        task.principal,
        account=given.account,
        from_hour=parse_hour(given.from_hour) if given.from_hour else None,
        why=task.why,
        now=task.now,
    )
    return _result(change)


def _result(change: PlanChange) -> Result:
    end = f" until {hour_text(change.until_hour)}" if change.until_hour else ""
    said = (
        f"{change.account} pays by the plan {change.plan}, which is"
        f" {terms_text(change.version.terms, change.currency)}, from"
        f" {hour_text(change.from_hour)} on{end}: {_moved(change)}."
    )
    difference: dict[str, list[Any]] = {"plan": [change.plan_before, change.plan]}
    for each in change.moved:
        moved = [each.charge_before_nano, each.charge_after_nano]
        difference[f"charge_{each.currency}_nano"] = moved
    details = {
        "from_hour": hour_text(change.from_hour),
        "until_hour": hour_text(change.until_hour) if change.until_hour else None,
        "hours": change.hours,
        "moved": [
            {
                "currency": each.currency,
                "hours": each.hours,
                "cost_nano": each.cost_nano,
                "charge_before_nano": each.charge_before_nano,
                "charge_after_nano": each.charge_after_nano,
            }
            for each in change.moved
        ],
    }
    return Result(said, difference, details)


def _moved(change: PlanChange) -> str:
    if not change.hours:
        return "no stored hour is charged anew"
    word = "hour is" if change.hours == 1 else "hours are"
    sums = ", ".join(
        f"{text_from_nano(each.charge_before_nano, DECIMALS)} →"
        f" {text_from_nano(each.charge_after_nano, DECIMALS)} {each.currency}"
        for each in change.moved
    )
    return f"{change.hours} stored {word} charged anew, {sums}"
