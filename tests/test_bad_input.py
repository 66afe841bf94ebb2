"""Bad input everywhere: hundreds of wrong calls, generated from the signatures of the public functions and classes.

Every public callable is called with valid arguments first; then each argument in turn is replaced by values that are wrong for it:
another type, out of range, another shape, not a number, negative, empty, huge. The call must end at once with a ValueError or a
TypeError that robinfo itself raises (not a library below it) and that says what is wrong. Wrong command lines end with code 2 and one
or two lines on standard error.
"""
from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import time
import traceback
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_experiments import toy  # noqa: F401  (a fixture)
from torch import nn

import robinfo
from robinfo.attacks import PGD
from robinfo.cli import main
from robinfo.threats import Linf

PACKAGE = Path(robinfo.__file__).parent
SAYS = re.compile(r"got|must|expected|unknown|need|cannot|one of|choose", re.IGNORECASE)
NAN, WORD = float("nan"), "seven"


def tensor(*shape: int, seed: int = 0) -> torch.Tensor:
    """Uniform numbers in [0, 1]."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def network(outputs: int = 3) -> nn.Module:
    """A small classifier of 8x8 images, in evaluation mode."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, outputs)).eval()


def with_entry(array: Any, value: float) -> Any:
    """A copy with its first entry replaced."""
    changed = array.clone() if isinstance(array, torch.Tensor) else np.array(array, dtype=float)
    changed.reshape(-1)[0] = value
    return changed


LAW = np.array([0.5, 0.3, 0.2])
JOINT = np.array([[0.3, 0.1], [0.1, 0.2], [0.1, 0.2]])
COST = np.abs(np.subtract.outer(np.arange(3.0), np.arange(3.0)))
REACH = np.array([[True, False], [True, True], [False, True]])
IMAGES, LABELS = tensor(6, 1, 8, 8), torch.tensor([0, 1, 2, 0, 1, 2])
LOGITS = torch.log_softmax(3 * tensor(6, 3, seed=1), 1)
COVARIANCE = np.array([[1.0, 0.2], [0.2, 1.0]])

# a valid value for each name of a parameter, and the values that are wrong wherever a parameter has this name
Kind = tuple[Any, list[Any]]
NUMBERS: list[Any] = [WORD, None, object()]
LAWS: Kind = (LAW, [*NUMBERS, with_entry(LAW, NAN), with_entry(LAW, -0.5), with_entry(LAW, 1e300), [], [[0.5, 0.5], [1.0]]])
JOINTS: Kind = (JOINT, [*NUMBERS, with_entry(JOINT, NAN), with_entry(JOINT, -0.3), with_entry(JOINT, 1e300), [], [[0.5], [0.2, 0.3]], 0.5])
COSTS: Kind = (COST, [*NUMBERS, with_entry(COST, NAN), COST[:2], [], [[0.0], [1.0, 0.0]]])
RADIUS: Kind = (0.5, [*NUMBERS, NAN, -1.0, "0.1"])
POSITIVE: Kind = (0.5, [*NUMBERS, NAN, -1.0, 0.0, []])
COUNT: Kind = (3, [*NUMBERS, NAN, -1, 1.5, [], "3"])
INFORMATION: Kind = (0.7, [*NUMBERS, NAN, -1.0])
SHARE: Kind = (0.3, [*NUMBERS, NAN, -0.1, 1.1])
PICTURES: Kind = (IMAGES, [*NUMBERS, IMAGES[:0], IMAGES[0], with_entry(IMAGES, NAN), with_entry(IMAGES, 2.5), with_entry(IMAGES, -1.0),
                           (255 * IMAGES).to(torch.uint8), IMAGES.numpy()])
CLASSES: Kind = (LABELS, [WORD, object(), LABELS.double(), LABELS[:3], LABELS - 5, LABELS + 10**9, LABELS[:, None]])
MODEL: Kind = (network(), [None, WORD, 3])
THREAT: Kind = (Linf(0.1), [WORD, 0.1, object()])
ATTACK: Kind = (PGD(Linf(0.1), steps=1), [None, WORD, 3])
REACHES: Kind = (REACH, [*NUMBERS, [], REACH[0], np.zeros((3, 2), bool), [[True], [True, False]]])
MATRIX: Kind = (COVARIANCE, [*NUMBERS, with_entry(COVARIANCE, NAN), -COVARIANCE, COVARIANCE[:1], [[1.0], [0.0, 1.0]]])
SCORES: Kind = (tensor(5, 5), [None, WORD, tensor(5), tensor(5, 4), tensor(0, 0), tensor(1, 1), with_entry(tensor(5, 5), NAN), np.eye(5),
                               torch.ones(5, 5, dtype=torch.long)])
OUTPUTS: Kind = (LOGITS, [None, WORD, LOGITS[0], LOGITS[:0], LOGITS.numpy()])


def choice(valid: str) -> Kind:
    """One of a few words."""
    return valid, ["nonsense", 3, ""]


THEORY: dict[str, Kind] = {
    "p": LAWS, "q": (LAW[::-1].copy(), LAWS[1]), "joint": JOINTS, "joint_xy": JOINTS, "cost": COSTS, "eps": RADIUS, "reach": REACHES,
    "num_classes": (10, [*NUMBERS, NAN, -1, 1, 0, 2.5]), "mutual_information": INFORMATION, "adversarial_risk": SHARE,
    "class_probabilities": LAWS, "predictions": (np.array([0, 1, 1]), [WORD, None, [0.5, 1.0, 1.0], [0, 1], [0, 1, 7], []]),
    "labels_of": (np.array([0, 1, 1]), [WORD, None, [0.5, 1.0, 1.0], [0, 1], [-1, 0, 0], []]),
    "covariance": MATRIX, "noise_covariance": MATRIX, "fisher": MATRIX, "jacobian": (np.eye(2), [*NUMBERS, with_entry(np.eye(2), NAN), []]),
    "direction": (np.array([1.0, 0.0]), [*NUMBERS, np.array([NAN, 0.0]), np.ones(5)]), "level": (0.95, [*NUMBERS, NAN, 0.0, 1.0, 95]),
    "successes": (3, [*NUMBERS, NAN, -1, 2.5, 1000]), "n": (7, [*NUMBERS, NAN, -1, 0, 2.5]), "counts": ([3, 4], [*NUMBERS, [-1, 2], [NAN, 1.0], [], [0, 0]]),
    "bandwidth": POSITIVE, "bandwidth_x": POSITIVE, "bandwidth_z": POSITIVE, "noise_std": POSITIVE,
    "order": (2, [WORD, None, NAN, 0.5, -1]), "form": choice("sharp"), "joint_xyz": (np.full((2, 2, 2), 0.125), [*NUMBERS, np.full((2, 2), 0.25), np.full((2, 2, 2), 0.2)]),
    "distortion": SHARE, "vulnerability": INFORMATION, "adversarial_gap": SHARE, "risk": SHARE, "h": (0.3, [*NUMBERS, NAN, -0.1, 100.0]),
    "mean_p": (np.zeros(2), [*NUMBERS, [NAN, 0.0]]), "std_p": (np.ones(2), [*NUMBERS, [NAN, 1.0], [-1.0, 1.0]]),
    "mean_q": (np.ones(2), [*NUMBERS, [NAN, 0.0]]), "std_q": (np.ones(2), [*NUMBERS, [NAN, 1.0], [-1.0, 1.0]]),
    "radius": RADIUS,
}
TORCH: dict[str, Kind] = {
    "images": PICTURES, "train_images": (tensor(32, 1, 8, 8), PICTURES[1]), "test_images": (tensor(16, 1, 8, 8), PICTURES[1]), "labels": CLASSES,
    "model": MODEL, "threat": THREAT, "attack": ATTACK, "scores": SCORES, "logits": OUTPUTS, "logits_adv": OUTPUTS, "estimator": choice("dv"),
    "negatives": choice("others"), "steps": COUNT, "batch_size": (4, COUNT[1]), "in_channels": (1, COUNT[1]), "image_size": (28, COUNT[1]),
    "num_classes": (10, COUNT[1]), "features": (8, COUNT[1]), "restarts": (1, COUNT[1]), "queries": COUNT, "draws": COUNT,
    "k": (2, COUNT[1]), "bandwidth_x": POSITIVE, "bandwidth_z": POSITIVE, "bandwidth": POSITIVE, "points": (5, COUNT[1]),
    "radius": RADIUS, "step_size": (0.05, [WORD, NAN, -1.0, object()]), "gradient": choice("full"), "x": (tensor(6, 2), [None, WORD, tensor(6), with_entry(tensor(6, 2), NAN)]),
    "z": (tensor(6, 2, seed=2), [None, WORD, tensor(6), tensor(5, 2), with_entry(tensor(6, 2), NAN)]), "y": (tensor(6, 2, seed=3), [None, WORD, tensor(6)]),
    "beta": (0.5, [WORD, NAN, -1.0, None]), "samples": COUNT, "seed": (0, [WORD, 1.5, -1]),
    "maximum": (1.0, [*NUMBERS, NAN, -1.0, "0.1"]), "clean_weight": (0.5, [WORD, None, NAN, -1.0, 1.5]), "forwards": (2, COUNT[1]), "width": (1.0, POSITIVE[1]),
    "padding": (1, [WORD, None, NAN, -1, 1.5]), "degrees": (2.0, [WORD, None, NAN, -1.0]), "interpolation": choice("nearest"),
    "brightness": (0.1, [WORD, None, NAN, -1.0]), "contrast": (0.1, [WORD, None, NAN, -1.0]), "saturation": (0.1, [WORD, None, NAN, -1.0]),
    "validation": (0.2, [*NUMBERS, NAN, -1.0, 1.5, 10**9]),
}
# what is wrong elsewhere but right here: images of any type and value (they are counted, cut and moved, not computed with) ...
SHAPES_ONLY: Kind = (IMAGES, [*NUMBERS, IMAGES[:0], IMAGES[0], IMAGES.numpy()])
# ... labels of any type and shape with one entry for each image, and class numbers of any size where no number of classes is known
ONE_EACH: Kind = (LABELS, [WORD, object(), None, LABELS[:3], torch.tensor(1)])
NUMBERED: Kind = (LABELS, [WORD, object(), LABELS.double(), LABELS - 5, LABELS[:, None], LABELS[:0]])
NATS: Kind = (0.2, INFORMATION[1])  # a binary feature has at most log 2

# where a name means something else, or needs another valid value
OWN: dict[str, dict[str, Kind]] = {
    "fano_function": {"p": SHARE}, "binary_entropy": {"p": SHARE}, "binary_entropy_derivative": {"p": SHARE}, "binary_entropy_inverse": {"h": SHARE},
    "representation_vulnerability_from_risks": {"risk": (0.2, SHARE[1]), "adversarial_risk": (0.5, SHARE[1])},
    "fano_function_inverse": {"h": INFORMATION}, "wasserstein": {"order": (1, [WORD, None, NAN, 0.5, -1])},
    "adversarial_gap_bounds": {"vulnerability": NATS}, "movable_mass_from_vulnerability": {"vulnerability": NATS},
    "shared_information_bounds": {"joint": (np.full((2, 2, 2, 2), 1 / 16), [*NUMBERS, JOINT, np.full((2, 2, 2, 2), NAN), np.full((2, 2, 2, 2), 0.2), []])},
    "batches": {"images": (IMAGES, [*NUMBERS, IMAGES[:0], IMAGES[:2], IMAGES.numpy()]), "labels": ONE_EACH},
    "random_crop_flip": {"images": SHAPES_ONLY}, "stratified_order": {"labels": NUMBERED},
    "to_float": {"images": (IMAGES, [bad for bad in PICTURES[1] if getattr(bad, "dtype", None) != torch.uint8])},  # uint8 is what it converts
    # only the type and the size of the images are kept, so that their values may be anything, and there may be none
    "ModelView": {"images": (IMAGES, [*NUMBERS, IMAGES[0], (255 * IMAGES).to(torch.uint8), IMAGES.numpy()])},
    "knn_bandwidth": {"x": (tensor(20, 2), TORCH["x"][1])},
    "spectral_stein_gradient": {"samples": (tensor(20, 2), TORCH["x"][1]), "queries": (tensor(4, 2), TORCH["x"][1][1:])},
    "label_information": {"scores": (tensor(6, 3), [None, WORD, tensor(5), tensor(5, 4), tensor(0, 0), tensor(6, 1), np.eye(6)])},
    "convolution_layers": {"model": (nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 3)), MODEL[1]), "depth": (2, COUNT[1])},
    "linear_critic_ceiling": {"z": (tensor(6), [*NUMBERS, tensor(6).numpy(), tensor(1), with_entry(tensor(6), NAN)])},  # one kernel, or several
    "mma_loss": {"radius": (tensor(6), [None, WORD, tensor(5), tensor(6, 1), tensor(6).numpy()])},
}
ALSO = {"loss_saliency": ("labels",)}  # arguments with a default that the rest needs
SKIP = {  # these take anything by design, or are abstract (and say so)
    "float_or_array", "check_interval", "check_numbers", "check_array", "readable_time",
    "LibraryAttack", "Threat",
}


@cache
def callables() -> tuple[tuple[str, Any], ...]:
    """Every public function and class outside the experiments, with its full name."""
    found = {}
    for module in pkgutil.walk_packages([str(PACKAGE)], "robinfo."):
        if any(part.startswith("_") for part in module.name.split(".")) or module.name.startswith(("robinfo.experiments", "robinfo.cli", "robinfo.checks")):
            continue
        for name, value in vars(importlib.import_module(module.name)).items():
            if callable(value) and not name.startswith("_") and getattr(value, "__module__", "") == module.name and name not in SKIP:
                found[f"{module.name}.{name}"] = value
    return tuple(sorted(found.items()))


def value_name(full: str) -> str:
    """The last part of a name."""
    return full.rpartition(".")[2]


def kinds_of(full: str, value: Any) -> dict[str, Kind] | None:
    """What is known of each required parameter; None where one of them is not known."""
    rules = (THEORY if ".theory." in full else TORCH) | OWN.get(value_name(full), {})
    try:
        listed = inspect.signature(value).parameters.values()
    except (TypeError, ValueError):
        return None
    required = [p.name for p in listed if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return {p.name: rules[p.name] for p in listed if p.name in rules} or None if all(name in rules for name in required) else None


def arguments(value: Any, kinds: dict[str, Kind]) -> dict[str, Any]:
    """Valid arguments: the required ones, and those that they need."""
    also = ALSO.get(value.__name__, ())
    return {p.name: kinds[p.name][0] for p in inspect.signature(value).parameters.values()
            if p.name in kinds and (p.default is p.empty or p.name in also)}


def text(value: Any) -> str:
    """A short name of a wrong value."""
    shape = getattr(value, "shape", None)
    shown = f"{type(value).__name__}{list(shape)}" if shape is not None else f"{type(value).__name__} {value!r}"
    return re.sub(r" at 0x[0-9a-f]+", "", shown)[:40]


@cache
def cases() -> tuple[tuple[str, str, int], ...]:
    """Callable, parameter, and the number of the wrong value."""
    def generated() -> Iterator[tuple[str, str, int]]:
        for full, value in callables():
            kinds = kinds_of(full, value)
            if kinds is None or not works(full):
                continue
            for name, (_, wrong) in kinds.items():
                default = inspect.signature(value).parameters[name].default
                yield from ((full, name, i) for i, bad in enumerate(wrong) if not (bad is None and default is None))

    return tuple(generated())


@cache
def works(full: str) -> bool:
    """Whether the valid arguments are valid; only then do the wrong ones prove anything."""
    value = dict(callables())[full]
    kinds = kinds_of(full, value) or {}
    try:
        value(**arguments(value, kinds))
    except (ValueError, TypeError, AttributeError, RuntimeError, IndexError):
        return False
    return True


def outcome(full: str, name: str, index: int) -> str:
    """What is wrong with how a bad call ends; empty where it is refused as it should be."""
    value = dict(callables())[full]
    kinds = kinds_of(full, value) or {}
    start = time.perf_counter()
    try:
        made: Callable[..., Any] = value(**arguments(value, kinds) | {name: kinds[name][1][index]})
    except (ValueError, TypeError) as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        if not Path(last.filename).is_relative_to(PACKAGE):
            return f"{type(error).__name__} from {Path(last.filename).name}:{last.lineno}: {str(error)[:90]}"
        if len(str(error)) < 20 or not SAYS.search(str(error)):
            return f"an unclear message: {error}"
        return "" if time.perf_counter() - start < 5 else f"refused only after {time.perf_counter() - start:.0f} s"
    except Exception as error:  # noqa: BLE001  (whatever it is, it is not a refusal)
        return f"{type(error).__name__}: {str(error)[:90]}"
    return f"accepted: {text(made)}"


refused: dict[str, int] = {}  # how many calls of a callable were refused as they should be


@pytest.mark.parametrize("full", [full for full, value in callables() if kinds_of(full, value)])
def test_bad_input_is_refused_clearly(full: str) -> None:
    """Every wrong value for every argument of one public callable."""
    kinds = kinds_of(full, dict(callables())[full]) or {}
    assert works(full), "the arguments called valid are refused; give it others in OWN"
    found = [(f"{name}={text(kinds[name][1][index])}", outcome(full, name, index)) for owner, name, index in cases() if owner == full]
    wrong = [f"{call}: {said}" for call, said in found if said]
    refused[full] = len(found) - len(wrong)
    assert not wrong, "\n" + "\n".join(wrong)


def test_there_are_hundreds_of_cases() -> None:
    """The generator finds most of the package: it cannot silently shrink to nothing."""
    assert len(cases()) >= 1400 and len({full for full, _, _ in cases()}) >= 110


# --- the command line ---------------------------------------------------------------------------------------------------
GRIDS = {  # files for `robinfo sweep`, by name
    "empty": "", "list": "- 1", "no-yaml": "a: [1", "tab": "\tx: 1", "no-experiment": "grid: {seed: [1]}", "unknown": "{experiment: tyo, grid: {seed: [1]}}",
    "profile": "{experiment: toy, profile: smoek, grid: {seed: [1]}}", "parameter": "{experiment: toy, grid: {sede: [1]}}",
    "type": "{experiment: toy, grid: {epochs: [many]}}", "scalar": "{experiment: toy, grid: {seed: 1}}", "none": "{experiment: toy, grid: {seed: []}}",
    "zip": "{experiment: toy, zip: {seed: [1, 2], epochs: [1]}}", "twice": "{experiment: toy, set: {seed: 1}, grid: {seed: [2]}}",
    "key": "{experiment: toy, gird: {seed: [1]}}", "seeds": "{experiment: toy, seeds: -1}", "points": "{experiment: toy, list: [1]}",
    "cluster": "{experiment: toy, seeds: 1, cluster: {kind: cloud}}", "workers": "{experiment: toy, seeds: 1, cluster: {workers: 0}}",
    "code": "!!python/object/apply:os.getcwd []",
}
TOY = ("run", "toy")
LINES: list[tuple[str, ...]] = [
    ("sing",), ("rnu", "toy"), ("--verison",), ("list", "toy"), ("list", "--all"), ("show",), ("show", "tyo"), ("show", ""), ("show", "toy", "toy"),
    ("show", "/etc/passwd"), ("show", "../nbs/toy"), ("show", "_draft"), ("show", "toy", "--profile", "cpu"),
    ("run",), ("run", "tyo"), ("run", ""), ("run", "toy.ipynb"), ("run", "../toy"), ("run", "toy", "toy"), ("run", "--profile", "cpu"),
    (*TOY, "--proflie", "cpu"), (*TOY, "--profile"), (*TOY, "--profile", "smoek"), (*TOY, "--profile", ""), (*TOY, "--profile", "../../etc"),
    (*TOY, "-p"), (*TOY, "-p", ""), (*TOY, "-p", "epochs"), (*TOY, "-p", "=3"), (*TOY, "-p", "epoch=3"), (*TOY, "-p", "epochs=many"), (*TOY, "-p", "epochs=2.5"),
    (*TOY, "-p", "epochs="), (*TOY, "-p", "epochs=[1"), (*TOY, "-p", "epochs=null"), (*TOY, "-p", "epochs=true"), (*TOY, "-p", "rate=fast"), (*TOY, "-p", "robust=maybe"),
    (*TOY, "-p", "run_dir=/etc"), (*TOY, "-p", "__class__=1"), (*TOY, "-p", "seed=!!python/object/apply:os.getcwd []"), (*TOY, "-p", "seed=\x00"),
    (*TOY, "--results"), (*TOY, "--results", "{file}"), (*TOY, "--results", "{file}/below"), (*TOY, "--force=yes"), (*TOY, "--seed", "1"),
    ("report", "--results"), ("report", "--results", "{folder}/nowhere"), ("report", "toy"), ("report", "--results", "{file}"),
    ("sweep",), ("sweep", "{folder}/nowhere.yaml"), ("sweep", "{folder}"), ("sweep", "{noise}"), ("sweep", "{grid}", "--workers", "0"), ("sweep", "{grid}", "--workers", "two"),
    ("sweep", "{grid}", "--workers", "-1"), ("sweep", "{grid}", "--schedular", "x"), ("sweep", "{grid}", "{grid}"),
    *(("sweep", f"{{folder}}/{name}.yaml", *dry) for name in GRIDS for dry in ((), ("--dry-run",))),
]
well_refused: list[tuple[str, ...]] = []


@pytest.mark.parametrize("line", LINES, ids=lambda line: " ".join(line).encode("unicode_escape").decode())
def test_bad_command_lines_are_refused_clearly(line: tuple[str, ...], toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,  # noqa: F811
                                               capsys: pytest.CaptureFixture[str]) -> None:
    """Code 2, one or two lines, no traceback, and nothing recorded."""
    for name, content in GRIDS.items():
        (tmp_path / f"{name}.yaml").write_text(content)
    (tmp_path / "grid.yaml").write_text("{experiment: toy, seeds: 1}")
    (tmp_path / "file").write_text("a file")
    (tmp_path / "noise").write_bytes(bytes(range(256)))
    monkeypatch.setenv("ROBINFO_EXPERIMENTS", str(toy))
    monkeypatch.setenv("ROBINFO_RESULTS", str(tmp_path / "out"))
    places = {"folder": tmp_path, "file": tmp_path / "file", "noise": tmp_path / "noise", "grid": tmp_path / "grid.yaml"}
    code = main([re.sub(r"\{(\w+)\}", lambda found: str(places[found[1]]), word) for word in line])
    said = capsys.readouterr().err
    assert code == 2, (code, said)
    assert 20 < len(said.strip()) and len(said.strip().splitlines()) <= 2 and "Traceback" not in said, said
    assert not list(tmp_path.glob("out/**/metrics.json"))
    well_refused.append(line)


def test_figures_of_bad_input(reliability: Callable[..., None]) -> None:
    """How many of the wrong calls and command lines were refused as they should be, in a run of the whole file."""
    if set(refused) != {full for full, _, _ in cases()}:
        pytest.skip("the other tests of this file were not all run in this process")
    done, calls = sum(refused.values()), len(cases())
    reliability("bad-input", test="wrong calls generated from the signatures of the public functions", n=calls, target="one clear error each, from robinfo, at once",
                figure=f"{done:,} of {calls:,} refused clearly")
    reliability("bad-commands", test="wrong command lines: names, values, files, missing arguments", n=len(LINES), target="code 2, at most two lines, no traceback",
                figure=f"{len(well_refused)} of {len(LINES)} refused clearly")
    assert (done, len(well_refused)) == (calls, len(LINES))
