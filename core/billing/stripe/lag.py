"""How far behind Stripe's own sums may be, and what is taken back of a purchase. It stands alone: screens and
proofs need it without the SDK.
"""

from datetime import timedelta
from typing import Final

LAG: Final = timedelta(hours=1)
"""What is younger may be missing from Stripe's sums though Stripe accepted it, so a difference this young
says nothing yet. How long real ones lag is not known."""
RETURNS_WITHIN: Final = timedelta(days=400)
"""So long a purchase is looked at in turn: an unauthorised debit is disputed for thirteen months, a card's
payment for less. What is taken back of it later is known by its event alone."""
