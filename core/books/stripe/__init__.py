"""What was told to Stripe, held against the ledger, and against what Stripe says it has."""
