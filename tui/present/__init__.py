"""From frozen records to cells: pure functions, no screen, no database."""
