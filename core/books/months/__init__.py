"""Months: which are closed, what stands in the way of closing one, and the closing itself."""
