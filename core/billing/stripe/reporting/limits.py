"""How far back Stripe is told, and how long it knows what it was told by."""

from datetime import timedelta

REPORTABLE = timedelta(days=34)
"""Stripe takes events of the last 35 days; a day less, since a run may last over midnight."""
FORGOTTEN = timedelta(hours=23)
"""After which Stripe may not know an identifier any more: a sum would count the same twice."""
