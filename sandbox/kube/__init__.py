"""A Kubernetes API server on loopback, good enough that the real kubectl works on it."""
