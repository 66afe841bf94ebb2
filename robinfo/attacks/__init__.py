"""Attacks, all called the same way: `attack(model, images, labels)` returns attacked images.

>>> import torch
>>> from robinfo.threats import Linf
>>> PGD(Linf(0.1), steps=1)(torch.nn.Flatten(), torch.full((1, 1, 1, 2), 0.5), torch.tensor([0])).shape
torch.Size([1, 1, 1, 2])
"""
from robinfo.attacks.gradient import FGSM, PGD, Loss, cross_entropy, difference_of_logits_ratio, margin
from robinfo.attacks.library import APGD, DDN, AttackRun, AttackWarning, AutoAttack, CarliniWagner, Square
from robinfo.attacks.search import (
    AccuracyCurve,
    ExpectationOverTransformation,
    FeatureMatching,
    RandomSearch,
    Transfer,
    accuracy_curve,
    is_randomised,
    minimal_radius,
)

__all__ = ["APGD", "DDN", "FGSM", "PGD", "AccuracyCurve", "AttackRun", "AttackWarning", "AutoAttack", "CarliniWagner",
           "ExpectationOverTransformation", "FeatureMatching", "Loss", "RandomSearch", "Square", "Transfer",
           "accuracy_curve", "cross_entropy", "difference_of_logits_ratio", "is_randomised", "margin",
           "minimal_radius"]
