"""What the attacks cost beside other libraries: `python tests/benchmarks/attacks.py [TASK …] [--turns N]`.

Same model, same images, same settings. The contenders of a task run one after the other in one process, one thread, in an order that turns round each time; the
first turn is thrown away. What is compared is CPU time (a busy machine stretches wall time): of each turn the seconds of the fastest other library divided by ours,
then the median of the turns with its range. foolbox is in the environment; torchattacks and ART take part when they can be imported (PYTHONPATH).

    train-resnet   PGD-3 inside a training step, ResNet-18, 32 images 3x32x32        target 1.3 in float32, 2.0 in bfloat16
    train-cnn      PGD-20 inside a training step, CNN of four layers, 256 digits      target 1.3 in float32, 2.0 in bfloat16
    weak           robust accuracy under PGD-40 of a CNN trained normally            target 2.5 for the fastest of ours
    robust         the same of a CNN trained adversarially                           target 1.8 with a bfloat16 search
"""
from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

import torch
from torch import Generator, Tensor, nn

from robinfo.attacks import PGD, cross_entropy
from robinfo.data import load, to_float
from robinfo.models import classifier
from robinfo.threats import Linf

Attack = Callable[[nn.Module, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Task:
    """A model with images, the other libraries, our variants with their targets (None: shown only), and whether accuracy is the point."""

    name: str
    model: nn.Module
    images: Tensor
    labels: Tensor
    peers: dict[str, Attack]
    ours: dict[str, tuple[Attack, float | None]]
    evaluate: bool = False


def foolbox_pgd(eps: float, steps: int, size: float) -> Attack:
    """PGD of foolbox."""
    import foolbox

    attack = foolbox.attacks.LinfPGD(steps=steps, abs_stepsize=size, random_start=True)
    return lambda model, images, labels: attack(foolbox.PyTorchModel(model, (0, 1), device="cpu"), images, labels, epsilons=eps)[1]


def torchattacks_pgd(eps: float, steps: int, size: float) -> Attack:
    """PGD of torchattacks."""
    import torchattacks  # type: ignore[import-not-found]

    return lambda model, images, labels: torchattacks.PGD(model, eps=eps, alpha=size, steps=steps, random_start=True)(images, labels)


def art_pgd(eps: float, steps: int, size: float) -> Attack:
    """PGD of the Adversarial Robustness Toolbox."""
    from art.attacks.evasion import ProjectedGradientDescentPyTorch  # type: ignore[import-not-found]
    from art.estimators.classification import PyTorchClassifier  # type: ignore[import-not-found]

    def attack(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        wrapped = PyTorchClassifier(model, loss=nn.CrossEntropyLoss(), input_shape=tuple(images.shape[1:]), nb_classes=10, clip_values=(0, 1),
                                    device_type="cpu")
        search = ProjectedGradientDescentPyTorch(wrapped, norm="inf", eps=eps, eps_step=size, max_iter=steps, num_random_init=1,
                                                 batch_size=len(images), verbose=False)
        return torch.from_numpy(search.generate(images.numpy(), labels.numpy()))

    return attack


def peers(eps: float, steps: int, size: float) -> dict[str, Attack]:
    """The other libraries that can be imported."""
    known = {"foolbox": foolbox_pgd, "torchattacks": torchattacks_pgd, "art": art_pgd}
    return {name: build(eps, steps, size) for name, build in known.items() if find_spec(name)}


def cnn() -> nn.Sequential:
    """Two convolutions and two linear layers for images 1x28x28."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
                         nn.Flatten(), nn.Linear(64 * 49, 128), nn.ReLU(), nn.Linear(128, 10)).eval()


def handwriting(count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training and `count` test images with labels: MNIST where it is, the embedded digits otherwise."""
    data = load("mnist" if "ROBINFO_DATA" in os.environ else "digits")
    return to_float(data.train_images[:20_000]), data.train_labels[:20_000], to_float(data.test_images[:count]), data.test_labels[:count]


def trained(attack: PGD | None, images: Tensor, labels: Tensor, batches: int, batch_size: int = 128) -> nn.Module:
    """A CNN trained for some batches, adversarially with an attack."""
    model, generator = cnn(), Generator().manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(batches):
        index = torch.randint(len(images), (batch_size,), generator=generator)
        x = images[index] if attack is None else attack(model, images[index], labels[index], generator=generator)
        loss = cross_entropy(model(x), labels[index]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def training_task(name: str, model: nn.Module, shape: tuple[int, ...], eps: float, steps: int, fold: bool) -> Task:
    """PGD as a training step calls it: the last iterate, in evaluation mode."""
    images, labels = torch.rand(shape, generator=Generator().manual_seed(0)), torch.arange(shape[0]) % 10
    size, best = 2.5 * eps / steps, {"memory_format": "channels_last", "fold_batch_norm": fold}
    plain = PGD(Linf(eps), steps=steps, step_size=size, keep="last", seed=0)
    ours: dict[str, tuple[Attack, float | None]] = {
        "robinfo, defaults": (plain, None),
        "robinfo, float32, best options": (PGD(Linf(eps), steps=steps, step_size=size, keep="last", seed=0, **best), 1.3),  # type: ignore[arg-type]
        "robinfo, bfloat16": (PGD(Linf(eps), steps=steps, step_size=size, keep="last", seed=0, precision="bfloat16", **best), 2.0)}  # type: ignore[arg-type]
    return Task(name, model, images, labels, peers(eps, steps, size), ours)


def evaluation_task(name: str, attack: PGD | None, batches: int, eps: float, count: int, targets: tuple[float | None, float | None]) -> Task:
    """Robust accuracy under PGD-40."""
    train_images, train_labels, images, labels = handwriting(count)
    model, steps, size = trained(attack, train_images, train_labels, batches), 40, 2.5 * eps / 40
    ours: dict[str, tuple[Attack, float | None]] = {
        "robinfo, float32, dropping": (PGD(Linf(eps), steps=steps, seed=0, drop_fooled="steps", memory_format="channels_last"), targets[0]),
        "robinfo, bfloat16, dropping": (PGD(Linf(eps), steps=steps, seed=0, drop_fooled="steps", memory_format="channels_last", precision="bfloat16"),
                                        targets[1])}
    return Task(name, model, images, labels, peers(eps, steps, size), ours, evaluate=True)


TASKS: dict[str, Callable[[], Task]] = {
    "train-resnet": lambda: training_task("train-resnet", _random_statistics(classifier("resnet18")), (32, 3, 32, 32), 8 / 255, 3, fold=True),
    "train-cnn": lambda: training_task("train-cnn", cnn(), (256, 1, 28, 28), 0.3, 20, fold=False),
    "weak": lambda: evaluation_task("weak", None, 100, 0.2, 128, (None, 2.5)),
    "robust": lambda: evaluation_task("robust", PGD(Linf(0.2), steps=7, keep="last", precision="bfloat16", memory_format="channels_last"), 150, 0.1,
                                      128, (None, 1.8)),
}


def _random_statistics(model: nn.Module) -> nn.Module:
    """Running statistics as after training, so that folding has something to fold."""
    generator = Generator().manual_seed(0)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            torch.nn.init.normal_(layer.running_mean, std=0.1, generator=generator)  # type: ignore[arg-type]
            torch.nn.init.uniform_(layer.running_var, 0.5, 1.5, generator=generator)  # type: ignore[arg-type]
    return model.eval()


def once(task: Task, attack: Attack) -> tuple[float, float]:
    """CPU seconds of an attack, and the accuracy that it leaves (the forward pass for it counts in an evaluation)."""
    start = time.process_time()
    found = attack(task.model, task.images, task.labels)
    spent = time.process_time() - start
    with torch.no_grad():
        accuracy = float((task.model(found).argmax(1) == task.labels).double().mean())
    return time.process_time() - start if task.evaluate else spent, accuracy


def report(task: Task, turns: int) -> bool:
    """Run all contenders in turn, print the table, and say whether every target was reached."""
    attacks: dict[str, Attack] = {**task.peers, **{name: attack for name, (attack, _) in task.ours.items()}}
    seconds: dict[str, list[float]] = {name: [] for name in attacks}
    accuracy: dict[str, float] = {}
    for turn in range(turns + 1):
        for name in list(attacks)[:: -1 if turn % 2 else 1]:
            spent, accuracy[name] = once(task, attacks[name])
            if turn:
                seconds[name].append(spent)
    best = min(task.peers, key=lambda name: statistics.median(seconds[name]))
    print(f"\n{task.name}: {len(task.images)} images, {turns} turns, fastest other library: {best}\n"
          f"{'':32}{'CPU s':>8}{'accuracy left':>15}{'ratio':>8}  {'range':14}target")
    reached = True
    for name in attacks:
        ratios = [theirs / ours for theirs, ours in zip(seconds[best], seconds[name], strict=True)]
        middle, target = statistics.median(ratios), task.ours.get(name, (None, None))[1]
        verdict = "" if target is None else f"{target}: " + ("reached" if middle >= target else f"MISSED by {target - middle:.2f}")
        reached &= target is None or middle >= target
        print(f"{name:32}{statistics.median(seconds[name]):8.2f}{accuracy[name]:15.3f}{middle:8.2f}  [{min(ratios):.2f}, {max(ratios):.2f}]  {verdict}", flush=True)
    return reached


def main() -> int:
    """Time the named tasks, all by default; 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="TASK", help=f"one of {', '.join(TASKS)}; all if none is given")
    parser.add_argument("--turns", type=int, default=5, help="turns that count, beside one that warms up")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(TASKS):
        parser.error(f"no task {', '.join(sorted(unknown))}; there are {', '.join(TASKS)}")
    torch.set_num_threads(1)
    reached = [report(TASKS[name](), arguments.turns) for name in arguments.names or TASKS]  # all of them, also after a miss
    return 0 if all(reached) else 1


if __name__ == "__main__":
    sys.exit(main())
