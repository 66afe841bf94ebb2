"""The benchmark of the attacks: the order of the turns, the arithmetic of the ratios, what counts as reached, who may be missing."""
from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robinfo.experiments import attack_benchmark as bench
from robinfo.experiments.attack_benchmark import (
    Agreement,
    Benchmark,
    BenchmarkSetup,
    Contest,
    Task,
    benchmark,
    plot_ratios,
    time_task,
)

LABELS = torch.arange(200) % 2
ALL = torch.ones(200, dtype=torch.bool)


def keep(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """An attack that does nothing."""
    return images


def task(**changes: Any) -> Task:
    """Two other libraries, one variant of ours with target 2."""
    fields: dict[str, Any] = {
        "name": "weak", "dataset": "toy", "model_name": "CNN", "attack": "PGD-1", "threat": "Linf(0.1)", "model": nn.Flatten(),
        "images": torch.eye(2)[LABELS].reshape(200, 2, 1, 1), "labels": LABELS, "peers": {"slow": keep, "quick": keep},
        "ours": {"shown": (keep, None), "ours": (keep, 2.0)}, "same": "accuracy"}
    return Task(**(fields | changes))


def contest(ours: list[float], alive: Tensor = ALL, **changes: Any) -> Contest:
    """The variant with these seconds and survivors, beside libraries that need 9 and about 6."""
    seconds = {"slow": [9.0, 9.0, 9.0], "quick": [6.0, 5.0, 8.0], "shown": [6.0, 5.0, 8.0], "ours": ours}
    return Contest(task(**changes), seconds, {name: ALL for name in seconds} | {"ours": alive}, dict.fromkeys(seconds, 1.5))


def dead(count: int, of: Tensor = ALL) -> Tensor:
    """Survivors without the first few."""
    alive = of.clone()
    alive[:count] = False
    return alive


def test_the_order_turns_round_and_the_first_turn_is_thrown_away() -> None:
    called: list[str] = []

    def named(name: str) -> Any:
        """An attack that says when it is called."""
        return lambda model, images, labels: (called.append(name), images)[1]

    given = task(peers={"a": named("a")}, ours={"b": (named("b"), None), "c": (named("c"), 1.0)})
    found = time_task(given, 2)
    assert called == ["a", "b", "c", "c", "b", "a", "a", "b", "c"]
    assert {name: len(seconds) for name, seconds in found.seconds.items()} == {"a": 2, "b": 2, "c": 2}
    called.clear()
    assert len(time_task(replace(given, warm_up=False), 1).seconds["a"]) == 1 and called == ["c", "b", "a"]
    assert bool(found.alive["c"].all())


def test_the_random_state_and_the_threads_are_left_as_found() -> None:
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    time_task(task(peers={"a": lambda model, images, labels: images + 0 * torch.rand(1)}), 1)
    with pytest.raises(RuntimeError, match="no"), bench._one_thread():
        raise RuntimeError("no")
    assert torch.equal(before, torch.get_rng_state()) and torch.get_num_threads() == threads


def test_seconds_are_what_the_clock_says(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(100))
    monkeypatch.setattr(bench.time, "process_time", lambda: next(ticks))
    assert bench._once(task(), keep, 0)[0] == 2  # an evaluation counts the pass that finds the survivors
    assert bench._once(task(same=""), keep, 0)[0] == 1


def test_ratios_are_to_the_fastest_other_library_turn_by_turn() -> None:
    found = contest([2.0, 2.5, 2.0])
    assert found.best_peer == "quick" and found.ratios("ours") == [3.0, 2.0, 4.0]
    (outcome,) = found.outcomes
    assert (outcome.name, outcome.value, outcome.interval, outcome.reached, outcome.text) == ("ours", 3.0, (2.0, 4.0), True, "reached")


@pytest.mark.parametrize(("ours", "alive", "same", "text"), [
    ([3.0, 2.5, 4.0], ALL, "accuracy", "reached"),  # a ratio of exactly 2
    ([4.0, 5.0, 8.0], ALL, "accuracy", "missed by 1.000"),
    ([2.0, 2.5, 2.0], dead(50), "accuracy", "reached"),  # a stronger attack is no fault
    ([2.0, 2.5, 2.0], dead(1), "survivors", "missed 1 of 200 images survive in only one of the two"),
    ([4.0, 5.0, 8.0], dead(1), "survivors", "missed by 1.000, 1 of 200 images survive in only one of the two"),
    ([2.0, 2.5, 2.0], dead(50), "", "reached"),
])
def test_reached_and_missed(ours: list[float], alive: Tensor, same: Any, text: str) -> None:
    (outcome,) = contest(ours, alive, same=same).outcomes
    assert outcome.text == text and outcome.reached == (text == "reached")


def test_a_weaker_attack_does_not_reach_its_target() -> None:
    found = contest([1.0, 1.0, 1.0])
    for lost, text in ((2, "reached"), (3, "missed robust accuracy 1.5 points higher")):
        weaker = Contest(found.task, found.seconds, found.alive | {"quick": dead(lost)}, found.losses)
        assert weaker.outcomes[0].text == text


def test_rows_carry_the_target_and_the_range() -> None:
    rows = {(r.method, r.metric): r for r in contest([4.0, 5.0, 8.0]).rows("reduced: points 200")}
    ratio = rows["weak: ours", "speed ratio to the fastest peer (quick)"]
    assert (ratio.value, ratio.interval, ratio.n) == (1.0, (1.0, 1.5), 3)
    assert ratio.settings == "reduced: points 200; target 2.0: missed by 1.000"
    assert rows["weak: slow", "CPU seconds"].interval == (9.0, 9.0) and rows["weak: slow", "robust accuracy"].value == 100
    assert ("weak: slow", ratio.metric) not in rows
    assert "cross-entropy after the attack" in {r.metric for r in contest([1.0, 1.0, 1.0], same="").rows("")}


def test_agreement_takes_the_largest_difference_over_seeds_and_libraries() -> None:
    counts = {("CNN", "robinfo"): [100, 101], ("CNN", "foolbox"): [101, 101], ("CNN", "ART"): [100, 104]}
    found = Agreement(counts, 200, (0, 1), "toy", "PGD-40", "Linf(0.1)")
    assert found.differences("CNN") == {"foolbox": 0.5, "ART": 1.5}
    assert found.outcomes[0].text == "missed by 0.5 points" and found.outcomes[0].interval == (0.5, 1.5)
    values = {(r.method, r.metric): r.value for r in found.rows("")}
    assert values["agreement: robinfo", "robust accuracy"] == 50.25 and values["agreement: ART", "largest difference to ours"] == 1.5


def test_missing_libraries_are_left_out_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "_MODULES", {name: "no_such_library" for name in bench._MODULES})
    result = benchmark(BenchmarkSetup(tasks=["train-cnn"], cnn_batch=2, cnn_steps=1, turns=1))
    assert result.missing == ("foolbox", "torchattacks", "ART") and result.outcomes == []
    assert {r.metric for r in result.rows} == {"cross-entropy after the attack", "CPU seconds"} and len(result.rows) == 6
    assert "not installed and left out: foolbox, torchattacks, ART" in result.verdict() and "0 of 0 targets" in result.verdict()
    plot_ratios(result)


def test_the_verdict_and_the_title_are_computed() -> None:
    result = Benchmark(BenchmarkSetup(), (contest([2.0, 2.5, 2.0]), contest([4.0, 5.0, 8.0])), None, ())
    assert "1 of 2 targets reached; weak (ours) missed by 1.000, 1.000 for a target of 2." in result.verdict()
    assert plot_ratios(result).axes[0].get_title(loc="left") == "1 of 2 targets for speed reached"


@pytest.mark.parametrize(("changes", "message"), [
    ({"tasks": ["weka"]}, "tasks must be out of .*got .'weka'."), ({"tasks": []}, "at least one"), ({"turns": 0}, "turns must be at least 1"),
    ({"seeds": []}, "seeds must name"),
])
def test_settings_are_checked(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BenchmarkSetup(**changes)
