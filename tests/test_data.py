"""Data sets: fixed digits, stratified parts, caches that are checked or refused, batches, augmentation."""
from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from functools import partial
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision.datasets
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torchvision.transforms import functional as reference

from robinfo import data
from robinfo.data import ImageDataset, MissingDataset, UnusableCache
from robinfo.sealed import is_sealed

DIGITS = data.load("digits")
KEYS = ("train_images", "train_labels", "test_images", "test_labels")


def generator(seed: int = 0) -> torch.Generator:
    """A CPU generator in a known state."""
    return torch.Generator().manual_seed(seed)


def content(images: torch.Tensor) -> list[bytes]:
    """Each image as bytes."""
    return [bytes(image) for image in images.numpy().reshape(len(images), -1)]


def same(first: ImageDataset, second: ImageDataset) -> bool:
    """Whether two data sets hold equal tensors and classes."""
    return first.classes == second.classes and all(torch.equal(getattr(first, k), getattr(second, k)) for k in KEYS)


# Digits


def test_digits_are_fixed() -> None:
    assert DIGITS.fingerprint() == "9efd5d70e2136d605a6976b69868b067daf871a103e2a812934582a7d362097b"
    assert DIGITS.train_images.shape == (1437, 1, 28, 28) and DIGITS.test_images.shape == (360, 1, 28, 28)
    assert DIGITS.train_images.dtype == torch.uint8 and DIGITS.train_labels.dtype == torch.int64
    assert (DIGITS.num_classes, DIGITS.in_channels, DIGITS.image_size) == (10, 1, (28, 28))


def test_digits_split_is_stratified_and_disjoint() -> None:
    from sklearn.datasets import load_digits

    train, test = content(DIGITS.train_images), content(DIGITS.test_images)
    assert not set(train) & set(test)
    assert len(set(train + test)) == 1797
    everyone = np.bincount(load_digits().target)
    assert (DIGITS.train_labels.bincount() + DIGITS.test_labels.bincount()).tolist() == everyone.tolist()
    assert np.abs(DIGITS.test_labels.bincount().numpy() - everyone * 360 / 1797).max() <= 1


def test_digits_agree_with_torch_interpolation_and_keep_their_labels() -> None:
    from sklearn.datasets import load_digits

    source = load_digits()
    enlarged = torch.nn.functional.interpolate(torch.from_numpy(source.images)[:, None] * 255 / 16, size=(28, 28),
                                               mode="bilinear", align_corners=False)
    ours = torch.from_numpy(data._enlarge(source.images))[:, None]
    assert (ours - enlarged).abs().max() <= 0.5 + 1e-9
    label_of = dict(zip(content(ours), source.target.tolist()))
    assert [label_of[c] for c in content(DIGITS.train_images)] == DIGITS.train_labels.tolist()
    assert [label_of[c] for c in content(DIGITS.test_images)] == DIGITS.test_labels.tolist()


def test_changing_one_copy_does_not_change_the_next() -> None:
    copy = data.load("digits")
    copy.train_images.zero_()
    assert data.load("digits").train_images.any()


def test_import_is_light() -> None:
    code = "import sys, robinfo.data; print(sorted({'torchvision', 'sklearn', 'safetensors'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# Splits and subsets


@given(st.lists(st.integers(1, 40), min_size=1, max_size=8), st.integers(0, 2**32 - 1), st.booleans())
def test_every_prefix_is_stratified(counts: list[int], seed: int, balanced: bool) -> None:
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    order = data.stratified_order(labels, seed, balanced=balanced)
    assert order.sort().values.tolist() == list(range(len(labels)))
    seen = torch.nn.functional.one_hot(labels[order], len(counts)).cumsum(0)
    prefix = torch.arange(1, len(labels) + 1)[:, None]
    share = torch.tensor(counts) / len(labels)
    if balanced:
        enough = prefix[:, 0] <= len(counts) * min(counts)
        assert ((seen - prefix / len(counts)).abs() < 1)[enough].all()
    else:
        assert ((seen - prefix * share).abs() <= (1 + len(counts) * share) / 2 + 1e-4).all()


def test_order_is_reproducible_and_depends_on_the_seed() -> None:
    order = data.stratified_order(DIGITS.test_labels, 7)
    assert torch.equal(order, data.stratified_order(DIGITS.test_labels, 7))
    assert not torch.equal(order, data.stratified_order(DIGITS.test_labels, 8))
    assert order[:6].tolist() == [73, 296, 351, 174, 222, 294]


@pytest.mark.parametrize("validation, count", [(237, 237), (0.1, 144)])
def test_split_partitions_the_training_data(validation: float, count: int) -> None:
    training, (images, labels) = DIGITS.split(validation, seed=3)
    again, (images_again, _) = DIGITS.split(validation, seed=3)
    assert len(images) == len(labels) == count
    assert sorted(content(training.train_images) + content(images)) == sorted(content(DIGITS.train_images))
    assert torch.equal(training.test_images, DIGITS.test_images) and torch.equal(images, images_again)
    assert same(training, again)
    assert (labels.bincount() - DIGITS.train_labels.bincount() * count / 1437).abs().max() <= 1.05
    assert not torch.equal(images, DIGITS.split(validation, seed=4)[1][0])


@pytest.mark.parametrize("validation, text", [(0.0, "fraction in"), (1.5, "fraction in"), (float("nan"), "fraction in"),
                                              (0, "validation must be a whole number >= 1"),
                                              (1437, "must leave some of the 1437")])
def test_split_refuses_sizes_that_leave_nothing(validation: float, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        DIGITS.split(validation)


def test_subset_is_stratified_nested_and_reproducible() -> None:
    small, large = DIGITS.subset(train=100, test=50, seed=1), DIGITS.subset(train=400, seed=1)
    assert same(small, DIGITS.subset(train=100, test=50, seed=1))
    assert not same(small, DIGITS.subset(train=100, test=50, seed=2))
    assert small.train_labels.bincount().tolist() == [10] * 10 and small.test_labels.bincount().tolist() == [5] * 10
    assert set(content(small.train_images)) < set(content(large.train_images)) and len(large.test_images) == 360
    assert same(DIGITS.subset(train=10**6), DIGITS)
    with pytest.raises(ValueError, match="train must be a whole number >= 1, got 0"):
        DIGITS.subset(train=0)


def test_subset_keeps_proportions_unless_balanced() -> None:
    labels = torch.tensor([0] * 90 + [1] * 10)
    images = torch.zeros(100, 1, 4, 4, dtype=torch.uint8)
    skewed = ImageDataset("skewed", images, labels, images, labels, ("a", "b"))
    assert skewed.subset(train=20).train_labels.bincount().tolist() == [18, 2]
    assert skewed.subset(train=20, balanced=True).train_labels.bincount().tolist() == [10, 10]
    assert skewed.subset(train=50, balanced=True).train_labels.bincount().tolist() == [40, 10]


# Construction

IMAGES, LABELS = torch.zeros(4, 1, 8, 8, dtype=torch.uint8), torch.tensor([0, 1, 0, 1])
LARGER = torch.zeros(4, 1, 9, 9, dtype=torch.uint8)
WRONG: list[tuple[str, dict[str, Any], type[Exception], str]] = [
    ("floats", {"train_images": IMAGES / 255}, TypeError, r"train_images must be uint8 .* got torch.float32; convert"),
    ("array", {"test_images": IMAGES.numpy()}, TypeError, "test_images must be a torch tensor, got ndarray"),
    ("axes", {"train_images": IMAGES[:, 0]}, ValueError,
     r"shape \[N, C, H, W\] .* got \[4, 8, 8\]; add the missing axes"),
    ("channels last", {"train_images": IMAGES.expand(4, 3, 8, 8).permute(0, 2, 3, 1)}, ValueError, "move the channels"),
    ("length", {"test_labels": LABELS[:3]}, ValueError, r"test_labels must have shape \[4\].* got \[3\]"),
    ("float labels", {"train_labels": LABELS.float()}, TypeError, "train_labels must be an integer tensor"),
    ("label range", {"train_labels": LABELS + 1}, ValueError, r"train_labels must lie in 0..1, got 1..2"),
    ("negative", {"test_labels": LABELS - 1}, ValueError, r"test_labels must lie in 0..1, got -1..0"),
    ("sizes", {"test_images": LARGER}, ValueError, r"one shape, got \[1, 8, 8\] and \[1, 9, 9\]"),
    ("empty", {"train_images": IMAGES[:0]}, ValueError, "every size >= 1"),
    ("one class", {"classes": ("a",)}, ValueError, "at least 2 different names"),
    ("same name", {"classes": ("a", "a")}, ValueError, "name each class once"),
    ("string", {"classes": "ab"}, TypeError, "sequence of names, got 'ab'"),
]


@pytest.mark.parametrize("change, kind, text", [pytest.param(*w[1:], id=w[0]) for w in WRONG])
def test_bad_data_are_refused(change: dict[str, Any], kind: type[Exception], text: str) -> None:
    good: dict[str, Any] = {"name": "toy", "classes": ("a", "b"), "train_images": IMAGES, "train_labels": LABELS,
                            "test_images": IMAGES, "test_labels": LABELS}
    assert ImageDataset(**good).num_classes == 2
    with pytest.raises(kind, match=text):
        ImageDataset(**(good | change))


def test_from_arrays_accepts_numpy_and_lists() -> None:
    made = ImageDataset.from_arrays(IMAGES[:, 0].numpy(), [0, 1, 2, 0], IMAGES.numpy(), LABELS.to(torch.uint8))
    assert repr(made) == "ImageDataset('custom': 4 train + 4 test, uint8 1x8x8, 3 classes, cpu)"
    assert made.test_labels.dtype == torch.int64 and made.to("cpu").train_images is made.train_images


# The cache


def test_cache_round_trip(tmp_path: Path) -> None:
    path = data.save(DIGITS, tmp_path / "new" / "digits.safetensors")
    back = data.read(path)
    assert same(back, DIGITS) and back.name == "digits" and back.fingerprint() == DIGITS.fingerprint()
    assert load_file(path)["train_labels"].dtype == torch.uint8
    assert [p.name for p in path.parent.iterdir()] == ["digits.safetensors"]


def test_cache_round_trip_with_many_classes(tmp_path: Path) -> None:
    labels = torch.tensor([0, 299, 256, 1])
    many = ImageDataset("many", IMAGES, labels, IMAGES, labels, tuple(map(str, range(300))))
    assert same(data.read(data.save(many, tmp_path / "many.safetensors")), many)


def test_interrupted_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = data.save(DIGITS.subset(train=50), tmp_path / "digits.safetensors")
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        data.save(DIGITS, path)
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def fake(count: int = 20, *, colour: bool = False) -> type:
    """A stand-in for a torchvision data set: `count` images, no files, no network."""

    class Fake:
        classes = tuple(f"class {k}" for k in range(10))

        def __init__(self, root: str, train: bool = True, split: str = "train", download: bool = False) -> None:
            assert download
            random = np.random.RandomState(train)
            shape = (count, 32, 32, 3) if colour else (count, 28, 28)
            pixels = random.randint(0, 256, shape, dtype=np.uint8)
            self.data = pixels if colour else torch.from_numpy(pixels)
            self.targets = (np.arange(count) % 10).tolist()

    return Fake


def no_network(*arguments: Any, **options: Any) -> None:
    """A torchvision class on a machine without network."""
    raise URLError("Temporary failure in name resolution")


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No torchvision data set can be had."""
    for name in ("MNIST", "FashionMNIST", "SVHN", "CIFAR10", "CIFAR100"):
        monkeypatch.setattr(torchvision.datasets, name, no_network)


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small stand-ins for MNIST and CIFAR-10."""
    monkeypatch.setattr(torchvision.datasets, "MNIST", fake())
    monkeypatch.setattr(torchvision.datasets, "CIFAR10", fake(colour=True))


def parts(**change: Any) -> dict[str, torch.Tensor]:
    """The tensors of a small MNIST cache, with changes."""
    images, labels = torch.zeros(20, 1, 28, 28, dtype=torch.uint8), (torch.arange(20) % 10).to(torch.uint8)
    good = {"train_images": images, "train_labels": labels, "test_images": images + 1, "test_labels": labels.clone()}
    return good | change


CLASSES = {"classes": json.dumps([str(k) for k in range(10)])}
COLOUR = torch.zeros(20, 3, 32, 32, dtype=torch.uint8)
BAD: list[tuple[str, Any, Any, str]] = [
    ("missing key", {k: v for k, v in parts().items() if k != "test_labels"}, CLASSES, "must hold the tensors"),
    ("additional key", parts(extra=torch.zeros(1)), CLASSES, "must hold the tensors"),
    ("float images", parts(train_images=torch.zeros(20, 1, 28, 28)), CLASSES, "train_images must be uint8"),
    ("float labels", parts(train_labels=torch.zeros(20)), CLASSES, "train_labels must be an integer tensor"),
    ("axes", parts(train_images=torch.zeros(20, 28, 28, dtype=torch.uint8)), CLASSES, "train_images must have shape"),
    ("counts", parts(train_images=torch.zeros(19, 1, 28, 28, dtype=torch.uint8)), CLASSES,
     r"train_labels must have shape \[19\]"),
    ("label range", parts(test_labels=torch.arange(20, dtype=torch.uint8)), CLASSES,
     r"test_labels must lie in 0..9, got 0..19"),
    ("no classes", parts(), {}, '"classes" .* is missing'),
    ("classes not JSON", parts(), {"classes": "[zero"}, "must be a JSON list"),
    ("classes not a list", parts(), {"classes": '"ten"'}, "must be a JSON list"),
    ("too few classes", parts(train_labels=torch.zeros(20).byte(), test_labels=torch.zeros(20).byte()),
     {"classes": '["a", "b"]'}, "mnist has images .* 10 classes, got .* 2 classes"),
    ("other data set", parts(train_images=COLOUR, test_images=COLOUR.clone()), CLASSES,
     r"mnist has images \[1, 28, 28\]"),
    ("checksum", parts(), CLASSES | {"sha256": "0" * 64}, "differ from the SHA-256"),
]
bad_cache = pytest.mark.parametrize("tensors, metadata, text", [pytest.param(*b[1:], id=b[0]) for b in BAD])


@bad_cache
def test_unusable_cache_is_refused(tmp_path: Path, offline: None, tensors: Any, metadata: Any, text: str) -> None:
    path = tmp_path / "mnist.safetensors"
    save_file(tensors, path, metadata)
    before = path.read_bytes()
    with pytest.raises(UnusableCache, match=text) as problem:
        data.load("mnist", root=tmp_path)
    assert all(part in str(problem.value) for part in (str(path), "delete it", "name resolution"))
    assert path.read_bytes() == before


@bad_cache
def test_unusable_cache_is_rebuilt(tmp_path: Path, online: None, tensors: Any, metadata: Any, text: str) -> None:
    path = tmp_path / "mnist.safetensors"
    save_file(tensors, path, metadata)
    before = path.read_bytes()
    with pytest.warns(UserWarning, match=text):
        rebuilt = data.load("mnist", root=tmp_path)
    assert (tmp_path / "mnist.safetensors.unusable").read_bytes() == before
    assert same(data.read(path), rebuilt)


@pytest.mark.parametrize("keep", [0, 4, 200, -1])
def test_truncated_file_is_refused_then_rebuilt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: int) -> None:
    path = tmp_path / "mnist.safetensors"
    save_file(parts(), path, CLASSES)
    path.write_bytes(path.read_bytes()[:keep])
    monkeypatch.setattr(torchvision.datasets, "MNIST", no_network)
    with pytest.raises(UnusableCache, match="truncated or not a safetensors file"):
        data.load("mnist", root=tmp_path)
    monkeypatch.setattr(torchvision.datasets, "MNIST", fake())
    with pytest.warns(UserWarning, match="truncated .* rebuilt from torchvision"):
        assert len(data.load("mnist", root=tmp_path).train_images) == 20


def test_every_byte_of_the_header_is_guarded(tmp_path: Path) -> None:
    path = data.save(ImageDataset("mnist", **parts(), classes=tuple(map(str, range(10)))), tmp_path / "mnist.safetensors")
    whole = path.read_bytes()
    assert is_sealed(path) and data.read(path).num_classes == 10
    for place in range(8 + int.from_bytes(whole[:8], "little")):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1:])
        with pytest.raises(UnusableCache, match="mnist.safetensors"):
            data.read(path)


def test_a_file_without_a_seal_is_judged_by_its_contents(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file(parts(), path, {"classes": '["' + '", "'.join("0123456789") + '"]'})
    assert not is_sealed(path) and data.read(path).num_classes == 10


def test_large_labels_cost_no_memory() -> None:
    labels = torch.tensor([0, 1, 0, 1])
    assert torch.equal(data.stratified_order(10**15 * labels, 3), data.stratified_order(labels, 3))


def test_a_changed_byte_is_noticed_in_our_own_cache(tmp_path: Path, offline: None) -> None:
    made = ImageDataset("mnist", **parts(), classes=tuple(map(str, range(10))))
    path = data.save(made, tmp_path / "mnist.safetensors")
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(UnusableCache, match="SHA-256"):
        data.load("mnist", root=tmp_path)


def test_a_folder_in_the_place_of_the_file_is_refused(tmp_path: Path, offline: None) -> None:
    (tmp_path / "mnist.safetensors").mkdir()
    with pytest.raises(UnusableCache, match="not a safetensors file"):
        data.load("mnist", root=tmp_path)


# Load by name


def test_first_load_writes_the_cache_and_the_second_reads_it(tmp_path: Path, online: None,
                                                             monkeypatch: pytest.MonkeyPatch) -> None:
    first = data.load("mnist", root=tmp_path)
    assert first.classes == tuple("0123456789") and first.train_images.shape == (20, 1, 28, 28)
    monkeypatch.setattr(torchvision.datasets, "MNIST", no_network)
    monkeypatch.setenv("ROBINFO_DATA", str(tmp_path))
    with pytest.warns(UserWarning, match="holds 20 training and 20 test images, where mnist has 60000 and 10000"):
        assert same(data.load("mnist"), first)


def test_colour_images_get_their_channels_first(tmp_path: Path, online: None) -> None:
    source = torchvision.datasets.CIFAR10(root="", train=False, download=True)
    loaded = data.load("cifar10", root=tmp_path)
    assert loaded.test_images.shape == (20, 3, 32, 32) and loaded.classes[3] == "class 3"
    assert torch.equal(loaded.test_images[5, 2], torch.from_numpy(source.data[5, :, :, 2]))


def test_svhn_is_taken_by_split_and_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Fake:
        def __init__(self, root: str, split: str, download: bool) -> None:
            self.data = np.full((10, 3, 32, 32), 7 if split == "test" else 3, np.uint8)
            self.labels = np.arange(10)

    monkeypatch.setattr(torchvision.datasets, "SVHN", Fake)
    loaded = data.load("svhn", root=tmp_path)
    assert loaded.test_images.unique().tolist() == [7] and loaded.train_images.unique().tolist() == [3]


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "svhn", "cifar10", "cifar100"])
def test_missing_data_without_network(tmp_path: Path, offline: None, name: str) -> None:
    with pytest.raises(MissingDataset) as problem:
        data.load(name, root=tmp_path)
    text = str(problem.value)
    assert isinstance(problem.value, FileNotFoundError) and isinstance(problem.value, ValueError)
    assert str(tmp_path / f"{name}.safetensors") in text and "name resolution" in text
    assert f"""python -c "from robinfo.data import load; load('{name}', root='.')\"""" in text
    assert "ROBINFO_DATA" in text


def test_a_cache_that_cannot_be_written_costs_no_data(tmp_path: Path, online: None,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr(data, "save", refuse)
    with pytest.warns(UserWarning, match="could not write the cache .*read-only.*used from memory"):
        assert len(data.load("mnist", root=tmp_path).train_images) == 20


@pytest.mark.parametrize("name, near", [("minst", "mnist"), ("CIFAR-10", "cifar10"),
                                        ("fashion-mnist", "fashion_mnist"), ("digit", "digits")])
def test_unknown_name_gets_the_nearest(name: str, near: str) -> None:
    with pytest.raises(ValueError, match=f"unknown data set '{name}', did you mean '{near}'"):
        data.load(name)


def test_root_argument_then_variable_then_user_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBINFO_DATA", "from_variable")
    assert data.data_root("given") == Path("given") and data.data_root() == Path("from_variable")
    monkeypatch.setenv("ROBINFO_DATA", "")
    assert data.data_root().is_absolute() and "robinfo" in data.data_root().parts


def test_real_mnist() -> None:
    root = os.environ.get("ROBINFO_DATA")
    if not root or not (Path(root) / "mnist.safetensors").exists():
        pytest.skip("needs mnist.safetensors in $ROBINFO_DATA")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mnist = data.load("mnist")
    assert mnist.train_labels.bincount().tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert mnist.test_labels.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert abs(mnist.train_images.float().mean().item() / 255 - 0.1307) < 1e-4


# Batches


def test_to_float() -> None:
    values = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    floats = data.to_float(values)
    assert floats.dtype == torch.float32 and floats.min() == 0 and floats.max() == 1
    assert torch.equal((floats * 255).round().byte(), values)
    assert data.to_float(floats.double()).dtype == torch.float32
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
        data.to_float(values.float())
    with pytest.raises(TypeError, match="floating point"):
        data.to_float(values.int())


@given(st.integers(1, 50), st.integers(1, 60), st.booleans(), st.booleans())
def test_batches_cover_everything_once(count: int, size: int, shuffle: bool, drop_last: bool) -> None:
    images = torch.arange(count)[:, None, None, None]
    if drop_last and count < size:
        with pytest.raises(ValueError, match="lower batch_size"):
            data.batches(images, torch.arange(count), size, drop_last=True)
        return
    source = generator() if shuffle else None
    found = list(data.batches(images, torch.arange(count), size, generator=source, drop_last=drop_last))
    assert all(torch.equal(x.flatten(), y) for x, y in found)
    seen = torch.cat([y for _, y in found]).tolist()
    assert len(set(seen)) == len(seen) == (count - count % size if drop_last else count)
    assert shuffle or seen == list(range(len(seen)))
    assert [len(y) for _, y in found[:-1]] == [size] * (len(found) - 1)


def test_batches_follow_the_generator() -> None:
    def order(seed: int) -> list[int]:
        numbers = torch.arange(100)
        return torch.cat([y for _, y in data.batches(numbers, numbers, 30, generator=generator(seed))]).tolist()

    assert order(1) == order(1) != order(2)
    with pytest.raises(ValueError, match="shuffle=True must come with a generator"):
        data.batches(IMAGES, LABELS, 2, shuffle=True)
    with pytest.raises(ValueError, match="one length, got 4 and 3"):
        data.batches(IMAGES, LABELS[:3], 2)


# Augmentation

STEPS = {"crop": data.random_crop_flip, "colour": data.color_jitter,
         "rotation": partial(data.random_rotation, degrees=10.0), "crop_flip": data.augmentation("crop_flip"),
         "zhu2020": data.augmentation("zhu2020", "cifar10")}
each_step = pytest.mark.parametrize("step", [pytest.param(v, id=k) for k, v in STEPS.items()])
PHOTOS = torch.rand(64, 3, 32, 32, generator=generator())


@each_step
def test_augmentation_is_reproducible_and_stays_in_range(step: Any) -> None:
    kept = PHOTOS.clone()
    first = step(PHOTOS, generator=generator(5))
    assert torch.equal(first, step(PHOTOS, generator=generator(5)))
    assert not torch.equal(first, step(PHOTOS, generator=generator(6)))
    assert first.shape == PHOTOS.shape and first.min() >= 0 and first.max() <= 1
    assert torch.equal(kept, PHOTOS)


@each_step
def test_augmentation_draws_for_each_image(step: Any) -> None:
    drawn = step(PHOTOS[:1].expand(64, -1, -1, -1), generator=generator())
    assert len({bytes(x.numpy()) for x in drawn}) > 20


def test_crop_flip_is_a_shift_or_a_mirrored_shift() -> None:
    found = data.random_crop_flip(PHOTOS[:1].expand(2000, -1, -1, -1), 2, generator=generator())
    padded = torch.nn.functional.pad(PHOTOS[0], (2, 2, 2, 2))
    crops = [padded[:, i:i + 32, j:j + 32] for i in range(5) for j in range(5)]
    kinds = {bytes(c.contiguous().numpy()): n for n, c in enumerate(crops + [c.flip(2) for c in crops])}
    counts = np.bincount([kinds[bytes(x.numpy())] for x in found], minlength=50)
    # 40 expected of each of 50 kinds; 6 standard deviations: a false alarm in less than 1 of 10^6 seeds
    assert np.abs(counts - 40).max() < 6 * np.sqrt(40)


def test_crop_flip_keeps_uint8_and_small_images() -> None:
    assert data.random_crop_flip(DIGITS.test_images, generator=generator()).dtype == torch.uint8
    assert data.random_crop_flip(PHOTOS[:, :, :5, :7], 4, generator=generator()).shape == (64, 3, 5, 7)


def test_color_jitter_matches_torchvision_in_every_order() -> None:
    orders = torch.tensor([[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]])
    factors = 0.4 + 1.2 * torch.rand(6, 3, generator=generator())
    steps = (reference.adjust_brightness, reference.adjust_contrast, reference.adjust_saturation)
    for channels in (1, 3):
        images = PHOTOS[:6, :channels]
        found = data._blend(images, orders, factors)
        for n, order in enumerate(orders.tolist()):
            expected = images[n]
            for k in order:
                expected = steps[k](expected, float(factors[n, k]))
            assert torch.allclose(found[n], expected, atol=1e-6)


def test_color_jitter_factors_fill_their_interval() -> None:
    white = torch.full((4000, 3, 1, 1), 0.5)
    factors = data.color_jitter(white, 0.25, 0, 0, generator=generator())[:, 0, 0, 0] / 0.5
    assert 0.75 <= factors.min() < 0.752 and 1.248 < factors.max() <= 1.2501
    assert abs(factors.mean() - 1) < 6 * 0.1443 / 4000**0.5
    assert torch.equal(data.color_jitter(white, 0, 0, 0), white)


@pytest.mark.parametrize("shape", [(6, 1, 28, 28), (6, 3, 20, 32)])
def test_rotation_matches_torchvision(shape: tuple[int, ...]) -> None:
    images = torch.rand(shape, generator=generator())
    angles = torch.linspace(-30, 30, 6)
    found = data._rotate(images, angles.deg2rad(), "bilinear")
    expected = torch.stack([reference.rotate(x, float(a), interpolation=reference.InterpolationMode.BILINEAR)
                            for x, a in zip(images, angles)])
    assert torch.allclose(found, expected, atol=1e-4)


def test_augmentation_by_name() -> None:
    assert data.augmentation("none")(PHOTOS) is PHOTOS
    assert data.augmentation("zhu2020", "mnist")(PHOTOS, generator=generator()) is PHOTOS
    with pytest.raises(ValueError, match="unknown augmentation 'crop-flip', did you mean 'crop_flip'"):
        data.augmentation("crop-flip")


@pytest.mark.parametrize("call, kind, text", [
    (lambda: data.random_crop_flip(PHOTOS[0]), ValueError, r"\[N, C, H, W\], got \[3, 32, 32\]"),
    (lambda: data.random_crop_flip(PHOTOS, -1), ValueError, "padding must be a whole number >= 0"),
    (lambda: data.color_jitter(PHOTOS.byte()), TypeError, "to_float"),
    (lambda: data.color_jitter(PHOTOS, -0.1), ValueError, "brightness must be a finite number >= 0, got -0.1"),
    (lambda: data.color_jitter(PHOTOS[:, :2]), ValueError, "1 or 3 channels, got 2"),
    (lambda: data.random_rotation(PHOTOS, float("nan")), ValueError, "degrees must be a finite number"),
    (lambda: data.random_rotation(PHOTOS, interpolation="bilinar"), ValueError, "did you mean 'bilinear'"),
])
def test_augmentation_refuses(call: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        call()
