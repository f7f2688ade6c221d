"""What an entry of the ledger is called: by its book, what it stands against, and its sign."""

from typing import Final

CREDITS, RECEIVABLE, ARREARS, REVENUE, STRIPE, SETTLED = 1, 2, 3, 11, 16, 17
"""Codes of hopsmeter.ledger_codes."""
BOOKS: Final = {CREDITS: "credits", RECEIVABLE: "receivable", ARREARS: "arrears"}

_INTO: Final = {
    11: "charge taken back",
    12: "credits bought",
    13: "credits granted",
    14: "expiry taken back",
    15: "refund taken back",
    16: "reported to Stripe",
    17: "settled outside of Stripe",
}
_OUT: Final = {
    11: "charge",
    12: "purchase taken back",
    13: "credits taken back",
    14: "credits expired",
    15: "refund",
    16: "less reported to Stripe",
    17: "less settled outside of Stripe",
}


def entry_words(book: int, contra: int, amount_nano: int) -> str:
    """Return what an entry is, in words for people: `charge`, `credits bought`, `arrears repaid`."""
    if contra in BOOKS:
        pair = f"{BOOKS[book]} repaid from {BOOKS[contra]}"
        return pair if amount_nano > 0 else f"{pair}, taken back"
    known = _INTO if amount_nano > 0 else _OUT
    return known.get(contra, f"code {contra}")
