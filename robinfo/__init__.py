"""Information-theoretic robustness: theorems derived, estimators computed, representations trained and judged.

The short list of names below is loaded on first use, so that ``import robinfo`` is quick and imports no torch:

>>> import robinfo
>>> print(robinfo.Linf(8 / 255))
Linf(8/255)
"""
__version__ = "0.1.0"

from importlib import import_module as _import_module
from typing import Any as _Any

_MODULES = ("attacks", "audit", "checks", "citations", "data", "dependence", "estimators", "evaluation", "experiments", "figures", "label_hypothesis",
            "latent", "models", "objectives", "theory", "threats", "training", "vib", "vulnerability")
_NAMES = {
    "threats": ("L1", "L2", "Linf"),
    "citations": ("cite",),
    "data": ("ImageDataset", "load", "to_float"),
    "models": ("Classifier", "Critic", "Encoder", "Normalized", "classifier", "linear_head", "mlp_head"),
    "latent": ("GaussianLatent", "gaussian_classifier"),
    "label_hypothesis": ("LabelHypothesisNetwork", "label_hypothesis_network"),
    "vib": ("VIBNetwork", "vib_network"),
    "attacks": ("APGD", "AutoAttack", "CarliniWagner", "DDN", "FGSM", "FeatureMatching", "PGD", "RandomSearch", "Square", "Transfer"),
    "estimators": ("donsker_varadhan", "hsic", "info_nce", "jensen_shannon", "knn_bandwidth", "mmd_squared", "nwj"),
    "dependence": ("HSIC", "MIGE", "MINE"),
    "objectives": ("MART", "MMA", "TRADES", "VIB", "AdversarialTraining", "InfoMax", "LabelHypothesis", "SharedInformation", "Standard"),
    "training": ("fit",),
    "audit": ("AuditReport", "Finding"),
    "evaluation": ("accuracy", "evaluate", "robust_accuracy"),
    "vulnerability": ("VulnerabilityEstimate", "estimate_vulnerability"),
}
_HOME = {name: module for module, names in _NAMES.items() for name in names}
__all__ = list(_MODULES) + list(_HOME)


def __getattr__(name: str) -> _Any:
    if name in _MODULES:
        return _import_module(f"robinfo.{name}")
    if name in _HOME:
        return getattr(_import_module(f"robinfo.{_HOME[name]}"), name)
    raise AttributeError(f"robinfo has no {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
