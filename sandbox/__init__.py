"""The world on loopback, by protocol: what the demo and the tests talk to. See README.md."""
