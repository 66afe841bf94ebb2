"""What a step of shared information costs over one of adversarial training: `python tests/benchmarks/shared_information.py [NAME …]`.

The same network with a Gaussian latent, the same PGD; both take turns within one process and the order changes each time. The target is
a median ratio of at most 1.35, CPU time.
"""
from __future__ import annotations

import argparse
import statistics
import time

import torch

from robinfo.attacks import PGD
from robinfo.latent import gaussian_classifier
from robinfo.objectives import AdversarialTraining, Objective, SharedInformation
from robinfo.threats import Linf

TARGET = 1.35
TASKS = {"small_cnn": (1, 28, 128, PGD(Linf(0.3), steps=40, step_size=0.01, keep="last")),
         "resnet18": (3, 32, 32, PGD(Linf(0.031), steps=10, step_size=0.007, keep="last"))}


def step(objective: Objective, name: str) -> float:
    """CPU seconds of one search, loss and backward pass."""
    channels, size, n, _ = TASKS[name]
    torch.manual_seed(0)
    model = gaussian_classifier(name, in_channels=channels, image_size=size)
    images, labels = torch.rand(n, channels, size, size), torch.randint(0, 10, (n,))
    start = time.process_time()
    x_adv = objective.perturb(model, None, images, labels)
    objective.loss(model, None, images, x_adv, labels)[0].backward()
    return time.process_time() - start


def main() -> None:
    """Measure and print one line for each network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(TASKS)}; all if none is given")
    parser.add_argument("--turns", type=int, default=5, help="turns that count, beside one that warms up")
    arguments = parser.parse_args()
    for name in arguments.names or TASKS:
        attack = TASKS[name][3]
        pair: tuple[Objective, Objective] = (AdversarialTraining(attack), SharedInformation(attack, schedule=None))
        ratios = []
        for turn in range(arguments.turns + 1):
            times = {i: step(pair[i], name) for i in ((0, 1) if turn % 2 else (1, 0))}
            if turn:
                ratios.append(times[1] / times[0])
        verdict = "ok" if statistics.median(ratios) <= TARGET else f"above the target {TARGET}"
        print(f"{name:10} batch {TASKS[name][2]:3}, PGD-{attack.steps}: adversarial {times[0]:.2f} s; shared / adversarial "
              f"{statistics.median(ratios):.3f} [{min(ratios):.3f}, {max(ratios):.3f}]  {verdict}", flush=True)


if __name__ == "__main__":
    main()
