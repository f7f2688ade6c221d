"""A Stripe on loopback: the protocol and the state of what we use of it, under the world's clock."""
