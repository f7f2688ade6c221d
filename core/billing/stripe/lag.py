"""How far behind Stripe's own sums may be. It stands alone: screens and proofs need it without the SDK."""

from datetime import timedelta
from typing import Final

LAG: Final = timedelta(hours=1)
"""What is younger may be missing from Stripe's sums though Stripe accepted it, so a difference this young
says nothing yet. How long real ones lag is not known."""
