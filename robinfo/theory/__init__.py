"""Exact quantities of the theory, in NumPy and SciPy: nats, no torch."""
