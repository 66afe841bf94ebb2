"""What the engine costs over a bare loop doing the same work: `python tests/benchmarks/engine.py`.

Both train the same network from the same weights on the same batches with the same attack and Adam, and must end with the
same bits. They take turns within one process; the order changes each time. The ratio of each turn is engine / bare; the
target is a median of at most 1.05. CPU time is the fair measure on a busy machine, wall time is printed beside it.
"""
from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from robinfo.attacks import PGD
from robinfo.data import ImageDataset, load, to_float
from robinfo.models import classifier
from robinfo.objectives import AdversarialTraining, Objective, Standard
from robinfo.threats import Linf
from robinfo.training import fit

TARGET = 1.05


def bare(model: nn.Module, attack: PGD | None, images: Tensor, labels: Tensor, epochs: int, batch_size: int) -> None:
    """The loop as one would write it on a blackboard, with the engine's order of batches and random starts."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for epoch in range(epochs):
        torch.manual_seed(epoch)
        starts, order = Generator().manual_seed(epoch), torch.randperm(len(images), generator=Generator().manual_seed(epoch))
        model.train()
        for index in order[: len(images) // batch_size * batch_size].split(batch_size):
            x, y = images[index].float().div_(255), labels[index]
            if attack is not None:
                x = attack(model, x, y, generator=starts)
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def engine(model: nn.Module, attack: PGD | None, dataset: ImageDataset, epochs: int, batch_size: int, checkpoint: Path | None) -> None:
    """The same through `robinfo.training.fit`."""
    objective: Objective = Standard() if attack is None else AdversarialTraining(attack)
    fit(model, objective, dataset, epochs=epochs, batch_size=batch_size, learning_rate=1e-3, device="cpu", progress=False,
        checkpoint=checkpoint)


def timed(run: Callable[[], None]) -> tuple[float, float]:
    """CPU and wall seconds of a call."""
    cpu, wall = time.process_time(), time.perf_counter()
    run()
    return time.process_time() - cpu, time.perf_counter() - wall


def network(name: str, width: float) -> nn.Module:
    """The network to train, the same each time."""
    torch.manual_seed(0)
    if name == "linear":
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    return classifier(name, in_channels=1, image_size=28, width=width)


def measure(name: str, arguments: argparse.Namespace, steps: int) -> list[tuple[float, float]]:
    """CPU and wall ratio of each turn."""
    dataset = load("digits").subset(train=arguments.images)
    attack = PGD(Linf(0.1), steps=steps, keep="last") if steps else None
    ratios = []
    for turn in range(arguments.turns + 1):
        models = network(name, arguments.width), network(name, arguments.width)
        runs: list[Callable[[], None]] = [
            lambda m=models[0]: bare(m, attack, dataset.train_images, dataset.train_labels, arguments.epochs, arguments.batch_size),
            lambda m=models[1]: engine(m, attack, dataset, arguments.epochs, arguments.batch_size, None)]
        times = {which: timed(runs[which]) for which in ((0, 1) if turn % 2 else (1, 0))}
        _same(*models)
        if turn:  # the first turn warms up
            ratios.append((times[1][0] / times[0][0], times[1][1] / times[0][1]))
            arguments.step_ms = 1e3 * times[0][0] / (arguments.epochs * (len(dataset.train_images) // arguments.batch_size))
    return ratios


def _same(first: nn.Module, second: nn.Module) -> None:
    """Refuse to compare runs that did different work."""
    for (name, a), b in zip(first.state_dict().items(), second.state_dict().values(), strict=True):
        if not torch.equal(a, b):
            raise AssertionError(f"both loops must end with the same bits, got a difference in {name}")


def checkpoint_cost(arguments: argparse.Namespace) -> str:
    """What a call and a checkpoint of the network cost, apart from the steps: an epoch of one image."""
    dataset, times = load("digits").subset(train=10), {}
    with TemporaryDirectory() as folder:
        for turn in range(2):
            for epochs in (1, 21):
                for path in (None, Path(folder) / f"{turn}.{epochs}.safetensors"):
                    model = network("baseline_h", arguments.width)
                    times[epochs, path is None] = timed(lambda m=model, e=epochs, p=path: engine(m, None, dataset, e, 10, p))[1]
        size = path.stat().st_size / 1e6 if path else 0.0
    saving = times[21, False] - times[21, True] - (times[1, False] - times[1, True])
    return f"a call of fit costs about {1e3 * times[1, True]:.0f} ms, a checkpoint of {size:.1f} MB {1e3 * saving / 20:.0f} ms (wall)"


def main() -> None:
    """Measure and print one line for each kind of work."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--images", type=int, default=1408)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--width", type=float, default=1 / 3)
    arguments = parser.parse_args()
    to_float(torch.zeros(1, dtype=torch.uint8))
    print(f"{arguments.turns} turns of {arguments.epochs} epochs, {arguments.images} digits, batch {arguments.batch_size}, "
          f"Baseline-H width {arguments.width:.3g}, {torch.get_num_threads()} thread(s), torch {torch.__version__}")
    print(f"{'work':20}{'ms/step':>8}   engine / bare, CPU: median [range]   wall: median [range]")
    for name, steps in (("baseline_h", 5), ("baseline_h", 0), ("linear", 5), ("linear", 0)):
        ratios = measure(name, arguments, steps)
        title = f"{name}, {f'PGD-{steps}' if steps else 'clean'}"
        texts = [f"{statistics.median(r):.3f} [{min(r):.3f}, {max(r):.3f}]" for r in zip(*ratios, strict=True)]
        verdict = "" if name == "linear" else "ok" if statistics.median(r[0] for r in ratios) <= TARGET else "above the target"
        print(f"{title:20}{arguments.step_ms:8.2f}   {texts[0]:36} {texts[1]:26} {verdict}", flush=True)
    print(checkpoint_cost(arguments))
    print(f"target: {TARGET} for the step of a real network; the linear one shows the fixed cost of a step")


if __name__ == "__main__":
    main()
