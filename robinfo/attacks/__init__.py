"""Attacks, all called the same way: `attack(model, images, labels)` returns attacked images.

>>> import torch
>>> from robinfo.threats import Linf
>>> PGD(Linf(0.1), steps=1)(torch.nn.Flatten(), torch.full((1, 1, 1, 2), 0.5), torch.tensor([0])).shape
torch.Size([1, 1, 1, 2])
"""
from robinfo.attacks.gradient import FGSM, PGD, Loss, cross_entropy

__all__ = ["FGSM", "PGD", "Loss", "cross_entropy"]
