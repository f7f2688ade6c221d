"""The demo: the real programs on a sandbox world, as one would run them; see README.md above."""
