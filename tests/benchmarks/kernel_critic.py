"""What a training step of the critics of 128 kernels costs over one of a representation's critic: `python tests/benchmarks/kernel_critic.py`.

The same 128 images of 3×32×32 and the same patch network (64 channels, embeddings of 2048). The single critic scores every place of an image against
a representation of 64 numbers. The kernels' critics are measured twice: at every place of every image (the same pairs, 128 times over), and with one place
of each image, which is how `estimate_kernel_vulnerability` trains them. A step is forward, estimate, backward and Adam; outputs of encoder and kernels are
given, as they are frozen. Turns are interleaved in one process on one thread, CPU time. The target is a median ratio of at most 3.
"""
from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from robinfo.estimators import donsker_varadhan
from robinfo.kernel_information import KernelCritics, ReceptiveField, kernel_information
from robinfo.models import Critic

TARGET = 3.0
FIELD = ReceptiveField(10, 4, 3)


def single(n: int, width: int) -> Callable[[], Tensor]:
    """Loss of the critic of a representation."""
    critic, images, features = Critic(3, 64, width=width), torch.rand(n, 3, 32, 32), torch.randn(n, 64)
    return _step(critic, lambda: -donsker_varadhan(critic(images, features)))


def kernels(n: int, width: int, places: int) -> Callable[[], Tensor]:
    """Loss of the critics of 128 kernels, with some places of each image."""
    critics = KernelCritics(3, 10, 128, width=width, channels=64)
    patches, outputs = torch.rand(n * places, 3, 10, 10), torch.randn(128, places, n)

    def loss() -> Tensor:
        """Minus the mean over kernels and places."""
        factors = critics(patches).unflatten(0, (places, n)).permute(2, 0, 1)
        return -kernel_information(factors, outputs).mean()

    return _step(critics, loss)


def _step(critic: torch.nn.Module, loss: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """One step of training as a function."""
    optimizer = torch.optim.Adam(critic.parameters(), lr=1e-4)

    def step() -> Tensor:
        """Forward, backward, update."""
        optimizer.zero_grad()
        value = loss()
        value.backward()
        optimizer.step()
        return value.detach()

    return step


def seconds(step: Callable[[], Tensor]) -> float:
    """CPU seconds of one call."""
    start = time.process_time()
    step()
    return time.process_time() - start


def main() -> None:
    """Measure and print one line for each way of taking places."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=5, help="turns that count, beside one that warms up")
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--width", type=int, default=2048)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    n, width, places = arguments.images, arguments.width, FIELD.outputs(32) ** 2
    steps = {"single": single(n, width), f"{places} places": kernels(n, width, places), "one place": kernels(n, width, 1)}
    turns: list[dict[str, float]] = []
    for turn in range(arguments.turns + 1):
        order = list(steps) if turn % 2 else list(reversed(steps))
        turns.append({name: seconds(steps[name]) for name in order})
    for name in list(steps)[1:]:
        ratios = [t[name] / t["single"] for t in turns[1:]]
        verdict = "ok" if statistics.median(ratios) <= TARGET else f"above the target {TARGET:g}"
        print(f"{n} images, width {width}, 128 kernels, {name} of each image: single critic {statistics.median(t['single'] for t in turns[1:]):.2f} s; "
              f"kernels / single {statistics.median(ratios):.3f} [{min(ratios):.3f}, {max(ratios):.3f}]  {verdict}", flush=True)


if __name__ == "__main__":
    main()
