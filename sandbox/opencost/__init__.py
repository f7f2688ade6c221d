"""OpenCost's HTTP API as v1.112 and its successors answer it, over the seeded story."""
