"""Several processes, one batch: gathered values and gradients, shared statistics, and trainings that equal those of one process."""
from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from robinfo.attacks import PGD
from robinfo.objectives import InfoMax, SharedInformation
from robinfo.parallel import SharedBatchNorm, gathered, processes, shared_statistics
from robinfo.threats import Linf
from robinfo.training import load_tensors

STEPS = """
import sys, torch
import torch.distributed as dist
from torch import nn
from robinfo.estimators import donsker_varadhan, info_nce
from robinfo.parallel import gathered, shared_statistics
from robinfo.training import save_tensors
from pathlib import Path

rank, world, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
torch.set_num_threads(1)
if world > 1:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world)
x = torch.randn(12, 3, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
torch.manual_seed(1)
model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5), nn.BatchNorm1d(5)).double()
own = x.chunk(world)[rank].clone().requires_grad_()
with shared_statistics(model):
    z = model(own)
    loss = donsker_varadhan(gathered(own.flatten(1)[:, :5] @ gathered(z).T)) + info_nce(gathered(z @ gathered(z).T))
loss.backward()
found = {"loss": loss.detach(), "input": world * own.grad / world}
for name, parameter in model.named_parameters():
    gradient = parameter.grad.clone()
    if world > 1:
        dist.all_reduce(gradient)
    found[name] = gradient / world
found |= {name: value for name, value in model.named_buffers()}
save_tensors(folder / f"{world}.{rank}.safetensors", found, {})
"""
TRAIN = """
import sys, torch
from pathlib import Path
from torch import nn
from robinfo.attacks import PGD
from robinfo.data import load
from robinfo.models import Encoder
from robinfo.objectives import InfoMax, SharedInformation
from robinfo.threats import Linf
from robinfo.training import fit, save_tensors
import json

if __name__ == "__main__":
    folder, kind, devices, across = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if kind == "infomax":
        model = Encoder(1, 28, features=8, width=0.05)
        objective = InfoMax(Linf(0.1), beta=0.5, steps=2, critic_width=16, critic_channels=4, across=across)
    else:
        model = nn.Sequential(nn.Flatten(), nn.Linear(784, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 10))
        objective = SharedInformation(PGD(Linf(0.1), steps=2, keep="last", random_start=False), beta=1.0, lam=1.0, location="softmax", schedule=None, across=across)
    strategy = {"devices": devices, "strategy": "ddp"} if devices > 1 else {}
    history = fit(model, objective, load("digits").subset(train=256), epochs=2, batch_size=64, learning_rate=0.02, optimizer="sgd", device="cpu",
                  progress=False, **strategy)
    rank = torch.distributed.get_rank() if devices > 1 else 0
    weights = {**model.state_dict(), **({} if history.auxiliary is None else {f"critic.{k}": v for k, v in history.auxiliary.state_dict().items()})}
    save_tensors(folder / f"{kind}-{devices}-{across}.{rank}.safetensors", weights, {"epochs": json.dumps(history.epochs)})
"""
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def run(script: Path, *arguments: object, torchrun: int = 0) -> None:
    """Run a script to its end; `torchrun` is the number of processes that torchrun starts, instead of the script itself."""
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(torchrun)] if torchrun else []
    done = subprocess.run([sys.executable, *command, str(script), *map(str, arguments)], env=ENVIRONMENT, check=False, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]


def apart(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> float:
    """Largest difference of two sets of tensors of the same names."""
    assert first.keys() == second.keys()
    return max(float((a.double() - second[k].double()).abs().max()) for k, a in first.items())


def test_gathered_estimates_have_the_gradient_of_the_whole_batch(tmp_path: Path) -> None:
    """Three processes and one, in double precision: loss, weights' gradients, running statistics, and the inputs' gradients up to the known factor."""
    script, world = tmp_path / "steps.py", 3
    script.write_text(STEPS)
    run(script, 0, 1, tmp_path)
    together = [subprocess.Popen([sys.executable, str(script), str(rank), str(world), str(tmp_path)], env=ENVIRONMENT) for rank in range(world)]
    assert [process.wait(120) for process in together] == [0] * world
    alone, *parts = (load_tensors(tmp_path / name)[0] for name in ["1.0.safetensors", *(f"{world}.{r}.safetensors" for r in range(world))])
    inputs = torch.cat([part.pop("input") for part in parts]) / world  # each process gets W times the gradient
    assert (inputs - alone.pop("input")).abs().max() < 1e-12
    assert max(apart(alone, part) for part in parts) < 1e-12


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["infomax", "shared"])
def test_two_processes_train_as_one_with_gathered_negatives(tmp_path: Path, kind: str, reliability: Callable[..., None]) -> None:
    """Worst-case InfoMax and SharedInformation (under torchrun), batch normalisation everywhere: equal weights up to the order of sums."""
    script = tmp_path / "train.py"
    script.write_text(TRAIN)
    for devices, across in ((1, "gathered"), (2, "gathered"), (2, "local")):
        run(script, tmp_path, kind, devices, across, torchrun=2 if devices == 2 and kind == "shared" else 0)
    (alone, text), (first, told), (second, _), (local, _) = (
        load_tensors(tmp_path / f"{kind}-{name}.safetensors") for name in ("1-gathered.0", "2-gathered.0", "2-gathered.1", "2-local.0"))
    assert apart({k: v for k, v in first.items() if "running" not in k}, {k: v for k, v in second.items() if "running" not in k}) == 0
    found = apart(alone, first)
    moved = apart(alone, local)  # what local negatives change is much more
    values = [[epoch[name] for epoch in json.loads(part["epochs"]) for name in sorted(epoch)] for part in (text, told)]
    assert values[1] == pytest.approx(values[0], abs=2e-3)
    reliability(f"processes-{kind}", test=f"two processes train {'worst-case InfoMax' if kind == 'infomax' else 'SharedInformation'} with gathered negatives", n=8,
                target="the weights of one process within 5e-3", figure=f"{found:.1g} apart (local negatives: {moved:.1g})")
    assert found < 5e-3 < moved  # signs of gradients turn rounding into steps


def test_one_process_is_not_changed() -> None:
    values = torch.rand(4, 2)
    assert processes() == 1 and gathered(values) is values
    torch.manual_seed(0)
    plain, x = nn.BatchNorm2d(3), torch.randn(5, 3, 4, 4)
    shared = SharedBatchNorm(3)
    assert torch.equal(plain(x), shared(x)) and torch.equal(plain.running_var, shared.running_var)


def test_layers_come_back_also_after_an_error() -> None:
    model = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 2))
    with pytest.raises(RuntimeError, match="stop"), shared_statistics(model, None):
        assert isinstance(model[0], SharedBatchNorm)
        raise RuntimeError("stop")
    assert type(model[0]) is nn.BatchNorm1d


@pytest.mark.parametrize("make", [lambda across: InfoMax(Linf(0.1), across=across), lambda across: SharedInformation(PGD(Linf(0.1), steps=1), across=across)])
def test_the_choice_is_checked_and_said(make: Callable[[Any], Any]) -> None:
    with pytest.raises(ValueError, match="across must be 'gathered' or 'local', got 'all'"):
        make("all")
    assert "local" in str(make("local")) and "gathered" not in str(make("gathered"))
