"""Exact quantities of the theory, in NumPy and SciPy: nats, no torch.

>>> from robinfo import theory
>>> round(theory.fano.adversarial_accuracy_upper_bound(1.08, 10, form="sharp"), 4)
0.7154
"""
from importlib import import_module as _import_module
from typing import Any as _Any

__all__ = ["certificates", "claims", "confidence", "divergences", "fano", "features", "fisher", "gaussian_mixture", "information", "reach", "robust_risk",
           "shared_information", "transport"]


def __getattr__(name: str) -> _Any:
    if name in __all__:
        return _import_module(f"robinfo.theory.{name}")
    raise AttributeError(f"robinfo.theory has no {name!r}; it has {', '.join(__all__)}")
