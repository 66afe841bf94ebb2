"""What guessing first costs: inference of the label-hypothesis network beside its baseline, `python tests/benchmarks/label_hypothesis.py`.

On a busy machine set OMP_WAIT_POLICY=passive: two threads that spin while they wait for a core measure the other programs.

Both have the paper's layers; M = 10 hypotheses run in one pass. They take turns within one process, and the order changes each turn. The
ratio of a turn is hypotheses / baseline; the target is a median of at most 1.6 in wall time with the padded convolutions (CPU time stands beside
it). The count of operations, 1.42 padded and 1.78 without padding, is what the arithmetic alone asks for; convolutions are slower per
operation than matrix products, hypotheses add element-wise work.
"""
from __future__ import annotations

import argparse
import statistics
import sys
import time

import torch
from torch import Tensor, nn

from robinfo.label_hypothesis import baseline_cnn, label_hypothesis_network, operations_per_image

TARGET = 1.6


def seconds(model: nn.Module, images: Tensor, batch_size: int) -> tuple[float, float]:
    """Wall and CPU time of one pass over the images."""
    if images.is_cuda:
        torch.cuda.synchronize()
    start, cpu = time.perf_counter(), time.process_time()
    for batch in images.split(batch_size):
        model(batch)
    if images.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start, time.process_time() - cpu


def measure(padding: str, arguments: argparse.Namespace) -> tuple[list[float], list[list[float]], float]:
    """Baseline seconds and both ratios of each turn, and the ratio of operations."""
    torch.manual_seed(0)
    models = [make(padding=padding).to(arguments.device).eval() for make in (baseline_cnn, label_hypothesis_network)]
    images = torch.rand(arguments.images, 1, 28, 28, device=arguments.device)
    base: list[float] = []
    ratios: list[list[float]] = [[], []]
    with torch.no_grad():
        for turn in range(-2, arguments.turns):
            order = (0, 1) if turn % 2 else (1, 0)
            times = {which: seconds(models[which], images, arguments.batch_size) for which in order}
            if turn >= 0:  # the first two warm up
                base.append(times[0][0])
                for kept, guessing, baseline in zip(ratios, times[1], times[0], strict=True):
                    kept.append(guessing / baseline)
    counts = [operations_per_image(model, images[:2]) for model in models]
    return base, ratios, counts[1] / counts[0]


def main() -> int:
    """Measure both readings of the padding; 1 if the target is missed for the padded one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=25)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--batch-size", type=int, default=250)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    missed = False
    print(f"{arguments.turns} turns of {arguments.images} images, batch {arguments.batch_size}, M = 10, {arguments.device}, "
          f"{arguments.threads} thread(s), torch {torch.__version__}")
    for padding in ("same", "valid"):
        base, ratios, operations = measure(padding, arguments)
        bad = padding == "same" and statistics.median(ratios[0]) > TARGET
        missed |= bad
        texts = [f"{name} {statistics.median(r):.3f} [{min(r):.3f}, {max(r):.3f}]" for name, r in zip(("wall", "CPU"), ratios, strict=True)]
        print(f"padding {padding:6} baseline {1e6 * statistics.median(base) / arguments.images:7.1f} us/image   ratio, median [range]: "
              f"{'   '.join(texts)}   operations {operations:.3f}{'   above the target' if bad else ''}", flush=True)
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
