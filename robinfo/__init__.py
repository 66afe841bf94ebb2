"""Information-theoretic robustness: theorems derived, estimators computed, representations trained and judged."""
__version__ = "0.1.0"
