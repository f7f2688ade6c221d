"""Months: closed for good, with the statements of their accounts."""

from core.books.months.close import close_month
from core.books.months.untold import unlinked_words
from core.commands.arguments import BooksClose
from core.commands.kinds import Result, Task
from core.money import text_from_nano

DECIMALS = 9
UNLINKED_MAX = 500
"""In a result that is kept."""


def close(task: Task[BooksClose]) -> Result:
    month = task.arguments.month
    made = close_month(task.connection, task.principal, month=month, why=task.why, now=task.now)
    sums = " and ".join(
        f"{text_from_nano(nano, DECIMALS)} {currency}"
        for currency, nano in sorted(made.charges_nano.items())
    )
    word = "statement is" if made.statements == 1 else "statements are"
    lost = ", ".join(f"{hours} hours {state} on {cluster}" for cluster, state, hours in made.lost)
    beside = f" {unlinked_words(made.unlinked)}" if made.unlinked else ""
    return Result(
        f"{month} is closed, and {made.statements} {word} frozen ({sums or 'nothing'} charged)."
        + (f" They name what is not in the books: {lost}." if lost else "")
        + beside
        + " What is corrected later is posted in the month that is open then.",
        {"month": ["open", "closed"]},
        {
            "statements": made.statements,
            "charges": [
                {"currency": currency, "charge_nano": nano}
                for currency, nano in sorted(made.charges_nano.items())
            ],
            "lost": [
                {"cluster": cluster, "state": state, "hours": hours}
                for cluster, state, hours in made.lost
            ],
            "unlinked": [
                {"account": each.account, "currency": each.currency, "due_nano": each.due_nano}
                for each in made.unlinked[:UNLINKED_MAX]
            ],
        },
    )
