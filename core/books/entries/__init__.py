"""From an entry of the ledger, or an account's day, down to the hours and the raw answers."""
