"""Clusters: who they are, how their secrets are kept, and the way into them."""
