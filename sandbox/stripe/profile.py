"""The account itself, as its owner's key sees it."""

import random

from sandbox.stripe.account import Account, Thing
from sandbox.stripe.route import Call, Route

ID_LETTERS = 16
_ALPHABET = "0123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


class Profile:
    """Its id is the seed's, and takes nothing from the ids of what is made in it."""

    def __init__(self, account: Account) -> None:
        self._account = account
        letters = random.Random(account.seed).choices(_ALPHABET, k=ID_LETTERS)
        self.id = f"acct_{''.join(letters)}"

    def routes(self) -> list[Route]:
        return [Route("GET", "/v1/account", self._retrieve)]

    def _retrieve(self, _call: Call) -> Thing:
        return {
            "id": self.id,
            "object": "account",
            "business_type": None,
            "charges_enabled": True,
            "country": "US",
            "default_currency": "usd",
            "details_submitted": True,
            "email": None,
            "metadata": {},
            "payouts_enabled": True,
            "type": "standard",
        }
