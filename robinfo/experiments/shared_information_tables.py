"""Further experiments of the shared-information paper (2022) on accuracy: Tables 6, 9, 10, 12, 13, 14 and Figure 3.

A notebook states the parameters and calls one function of this module; each function trains through a `Study`, or finds what another
experiment has trained, and returns a `Grid`: cases by attacks, the paper's own comparisons beside them, a figure and a verdict.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from robinfo.attacks import Square
from robinfo.dependence import HSIC, MIGE, MINE
from robinfo.experiments.models_store import Tally, apart
from robinfo.experiments.record import Row, compare, markdown_table, paper_row
from robinfo.experiments.shared_information import _printed, _quantity, _variants
from robinfo.experiments.shared_information_study import (
    PAPER_MODEL,
    SURROGATE,
    Count,
    Settings,
    Study,
    Variant,
    evaluation_attacks,
    of_method,
    ours,
)
from robinfo.experiments.worst_case_mi import overall_verdict
from robinfo.figures import BLUE, GREEN, GREY, ORANGE, PINK, RED, SKY, finished

__all__ = ["ABLATIONS", "Case", "Contrast", "Grid", "Settings", "ablation", "black_box", "data_efficiency", "estimators", "location",
           "plot_curves", "plot_grid", "plot_trade_off", "short_verdict", "trade_off", "trade_off_verdict", "undominated", "weights"]

ABLATIONS: dict[str, dict[str, float]] = {
    "CE(clean) + D_SKL + I(z;z')": {"alpha": 0.0}, "CE(adv) + D_SKL + I(z;z')": {"alpha": 1.0}, "CE(clean) + CE(adv) + I(z;z')": {"beta": 0.0},
    "CE(clean) + CE(adv)": {"beta": 0.0, "lam": 0.0}, "CE(clean) + CE(adv) + D_SKL": {"lam": 0.0},
    "CE(clean) + CE(adv) + D_SKL + I(z;z')": {}}
_PALETTE = (BLUE, RED, GREEN, ORANGE, PINK, SKY, GREY)
_ALPHAS, _LAMBDAS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0), (0.001, 0.003, 0.005, 0.007, 0.01)
_ESTIMATORS = {"MINE": (MINE(), 0.01), "MIGE": (MIGE(), 0.01), "HSIC": (HSIC(), 0.001)}
_WHOLE_SET = {"metric": "accuracy_entire_test_set", "attack": "caption: adversarial manipulation attack (ambiguous)"}


# --- cases by attacks ---------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Case:
    """One line of a table: what is trained, and which of the paper's cells stand beside it.

    Parameters
    ----------
    name : str
        In figures and tables.
    variant : Variant
        What is trained; its name is the paper's name of the method.
    fields : mapping
        Further fields of the paper's cells, such as ``{"lam": 0.01}``.
    fraction : float
        Share of the training images.
    at : float
        Place on the axis of a curve.
    """

    name: str
    variant: Variant
    fields: Mapping[str, Any] = field(default_factory=dict)
    fraction: float = 1.0
    at: float = 0.0


class Contrast(NamedTuple):
    """A comparison that the paper draws: the first case above the second under an attack.

    Attributes
    ----------
    first, second : str
        Names of cases.
    attack : str
        Or "natural".
    """

    first: str
    second: str
    attack: str


@dataclass(frozen=True)
class Grid(Tally):
    """Correct test images of several cases after several attacks.

    Attributes
    ----------
    study : Study
        Data and settings.
    table : str
        Number of the paper's table.
    cases : dict of str to Case
        What was run.
    counts : dict of str to list of dict
        By case; one dict of `Count` for each seed.
    contrasts : tuple of Contrast
        What the paper compares.
    published : tuple of dict
        Every cell of the paper's table.
    fields : mapping
        Fields that all cells share, such as the network or the name of the metric.
    paper_attack : str
        How the paper names an attack.
    beside : tuple of str or None
        The attacks beside which a published cell is put; None: all.
    note : str
        What else a reader of the rows has to know.
    """

    study: Study
    table: str
    cases: dict[str, Case]
    counts: dict[str, list[dict[str, Count]]]
    contrasts: tuple[Contrast, ...] = ()
    published: tuple[dict[str, Any], ...] = ()
    fields: Mapping[str, Any] = field(default_factory=dict)
    paper_attack: str = "{}"
    beside: tuple[str, ...] | None = None
    note: str = ""

    @property
    def attacks(self) -> tuple[str, ...]:
        """Names of the attacks."""
        return tuple(next(iter(self.counts.values()))[0])

    @property
    def rows(self) -> list[Row]:
        """Every number beside the paper's, for ``metrics.json``."""
        return [row for name in self.cases for row in self._rows_of(name).values()]

    def _rows_of(self, name: str) -> dict[str, Row]:
        """The rows of one case by attack."""
        case, made = self.cases[name], {}
        note = "; ".join(filter(None, (name if name != case.variant.name else "", self.note, f"{case.fraction:.0%} of the training images"
                                       if case.fraction < 1 else "", _elsewhere(self.study.settings))))
        for attack in self.attacks:
            known = self.beside is None or attack in self.beside
            fields = {"dataset": "CIFAR-10"} | dict(self.fields) | dict(case.fields) if known else {"metric": "not in the paper"}
            trials = [{attack: trial[attack]} for trial in self.counts[name]]
            made[attack] = self.study.rows(self.table, case.variant, trials, note=note, paper=fields, paper_attack=self.paper_attack)[0]
        return made

    def best(self, attack: str) -> str:
        """The case with the highest accuracy under an attack.

        Parameters
        ----------
        attack : str
            Or "natural".

        Returns
        -------
        str
            Its name; the first of several.
        """
        return max(self.cases, key=lambda name: self.accuracy(name, attack))

    # --- the paper's comparisons

    def judged(self) -> list[tuple[Contrast, float | None, float, float]]:
        """The comparisons whose two cases were run.

        Returns
        -------
        list of (Contrast, float or None, float, float)
            The paper's difference and the measured one, points, and the measured one in standard errors.
        """
        found = []
        for c in self.contrasts:
            if {c.first, c.second} <= set(self.cases) and c.attack in self.attacks:
                cells = [self._rows_of(name)[c.attack].paper for name in (c.first, c.second)]
                printed = None if None in cells else cells[0]["mean"] - cells[1]["mean"]  # type: ignore[index]
                gap = self.accuracy(c.first, c.attack) - self.accuracy(c.second, c.attack)
                found.append((c, printed, gap, apart(self.total(c.first, c.attack), self.total(c.second, c.attack))))
        return found

    def contrast_table(self) -> str:
        """The paper's comparisons beside the measured ones.

        Returns
        -------
        str
            A Markdown table.
        """
        lines = [(f"{c.first} − {c.second}".replace("|", "\\|"), c.attack, "–" if printed is None else f"{printed:+.2f}", f"{gap:+.2f}",
                  f"{errors:+.1f}", _direction(printed, errors)) for c, printed, gap, errors in self.judged()]
        return markdown_table(("difference of accuracy", "under", "paper, points", "measured, points", "in standard errors", "direction"), lines)

    def directions(self) -> dict[str, int]:
        """How many comparisons have the paper's direction, the opposite one, or are undecided.

        Returns
        -------
        dict of str to int
            By "the paper's", "opposite", "undecided".
        """
        kinds = [_direction(printed, errors) for _, printed, _, errors in self.judged() if printed is not None]
        return {kind: kinds.count(kind) for kind in ("the paper's", "opposite", "undecided")}

    def claim(self) -> str:
        """A title: how many of the paper's comparisons have its direction.

        Returns
        -------
        str
            Computed.
        """
        found = self.directions()
        if not sum(found.values()):
            return f"Highest under {self.attacks[-1]}: {self.best(self.attacks[-1])}"
        return f"{found[_SAME]} of {sum(found.values())} comparisons go the paper's way, {found['opposite']} the other, {found['undecided']} undecided"

    def verdict(self) -> str:
        """One sentence: the verdict of the cells, then the comparisons, then what is highest.

        Returns
        -------
        str
            Computed.
        """
        last, found = self.attacks[-1], self.directions()
        clean = f", on clean images {self.best('natural')} ({self.accuracy(self.best('natural'), 'natural'):.1f} %)" if "natural" in self.attacks else ""
        return (f"{short_verdict(self.rows, self.study.settings)}. Of {sum(found.values())} comparisons with printed values, {found[_SAME]} have the paper's direction "
                f"beyond two standard errors, {found['opposite']} the opposite one, {found['undecided']} are undecided with so few images. "
                f"Highest under {last}: {self.best(last)} ({self.accuracy(self.best(last), last):.1f} % of {self.total(self.best(last), last)[1]})"
                f"{clean}.")

    def table_with_gaps(self) -> str:
        """The paper's whole table: what was measured, and "not run" where nothing was.

        Returns
        -------
        str
            A Markdown table.
        """
        rows = self.rows
        measured = [row.paper for row in rows if row.paper is not None]
        gaps = [(c["dataset"], c["model"], _told_apart(c), _quantity(c), "not run", _printed(c), "–", "–")
                for c in self.published if c not in measured]
        table = compare(rows)
        lines = [(d, m, name, *rest[1:]) for (d, m, *rest), name in zip(table.cells(), self._names(), strict=True)]
        return markdown_table(table.HEADER, [tuple(cell.replace("|", "\\|") for cell in line) for line in [*lines, *gaps]])

    def _names(self) -> list[str]:
        """The name of the case of each row."""
        return [name for name in self.cases for _ in self.attacks]


_SAME = "the paper's"


def _direction(printed: float | None, errors: float) -> str:
    """Whether a measured difference has the direction of the paper's."""
    if printed is None:
        return "–"
    if abs(errors) <= 2 or not printed:
        return "undecided"
    return _SAME if (printed > 0) == (errors > 0) else "opposite"


def short_verdict(rows: Sequence[Row], settings: Settings) -> str:
    """The verdict of the cells with the reason in few words; each row has its own settings in full.

    Parameters
    ----------
    rows : sequence of Row
        Judged rows.
    settings : Settings
        What was run.

    Returns
    -------
    str
        Computed.
    """
    kind = overall_verdict(rows).partition(":")[0]
    reasons = "; ".join(filter(None, (settings.reduced(), _elsewhere(settings)))) if kind == "Not comparable" else ""
    return f"{kind} ({reasons})" if reasons else kind


def _told_apart(cell: Mapping[str, Any]) -> str:
    """The method of a published cell with what else tells it apart."""
    extra = ", ".join(f"{key} {cell[key]:g}" for key in ("alpha", "lam", "train_fraction") if key in cell)
    return f"{cell['method']} ({extra})" if extra else str(cell["method"])


def _elsewhere(settings: Settings) -> str:
    """That the paper has this table for another data set only."""
    return "" if settings.dataset == "cifar10" else "the paper has this table for CIFAR-10 only"


def _network(settings: Settings) -> dict[str, str]:
    """The network of the paper's cells: that of the settings where the paper has it, else its ResNet-18."""
    name = PAPER_MODEL.get(settings.network, "")
    return {"model": name if name == "WideResNet-34-10" else "ResNet18"}


def _cells(table: str, matches: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], ...]:
    """The paper's cells that have the given fields, without repetition."""
    found: list[dict[str, Any]] = []
    for match in matches:
        cell = paper_row("Yu2022", table, required=False, dataset="CIFAR-10", **match)
        if cell is not None and cell not in found:
            found.append(cell)
    return tuple(found)


def _accuracies(match: Mapping[str, Any], attacks: Sequence[str] = ("PGD-20",)) -> list[dict[str, Any]]:
    """Fields of clean accuracy and of accuracy under attacks."""
    return [{**match, "metric": "natural_accuracy"}, *({**match, "metric": "robust_accuracy", "attack": a} for a in attacks)]


def _run(settings: Settings, table: str, cases: Sequence[Case], attacks: Sequence[str], *, more: int = 0, **options: Any) -> Grid:
    """Train and attack every case."""
    if not cases:
        raise ValueError("at least one case must be run, got none; name some in the parameters")
    suite, study = evaluation_attacks(settings, attacks), Study(settings, parts=len(cases) * len(settings.seeds) + more)
    counts = {case.name: [study.counts(study.trained(case.variant, seed, train_fraction=case.fraction), suite) for seed in settings.seeds]
              for case in cases}
    return Grid(study, table, {case.name: case for case in cases}, counts, **{"fields": _network(settings)} | options)


def _against(first: str, others: Sequence[str], attacks: Sequence[str]) -> tuple[Contrast, ...]:
    """One case against each other one, under each attack."""
    return tuple(Contrast(first, other, attack) for other in others if other != first for attack in attacks)


# --- Tables 10, 12, 13, 14 ----------------------------------------------------------------------------------------------
def ablation(settings: Settings, *, terms: Sequence[str] = tuple(ABLATIONS), attacks: Sequence[str] = ("natural", "PGD-20")) -> Grid:
    """Table 10: the objective with terms switched off.

    Parameters
    ----------
    settings : Settings
        As for Table 4, whose training of the whole objective is found again.
    terms : sequence of str
        Out of `ABLATIONS`.
    attacks : sequence of str
        As for `evaluation_attacks`.

    Returns
    -------
    Grid
        A case for each combination of terms.

    Raises
    ------
    ValueError
        Unknown terms.

    References
    ----------
    Yu et al. (2022), Table 10.
    """
    unknown = [name for name in terms if name not in ABLATIONS]
    if unknown:
        raise ValueError(f"terms must be out of {', '.join(ABLATIONS)}, got {unknown}; correct the names")
    cases = [Case(name, ours(f"Ours ablation: {name}", **ABLATIONS[name])) for name in terms]
    published = _cells("10", [m for name in ABLATIONS for m in _accuracies({"method": f"Ours ablation: {name}"})])
    return _run(settings, "10", cases, attacks, contrasts=_against(tuple(ABLATIONS)[-1], tuple(ABLATIONS), attacks), published=published)


def _weights_name(alpha: float, lam: float) -> str:
    """Name of a case of Table 12."""
    return f"alpha {alpha:g}, lambda {lam:g}"


def _weights_fields(alpha: float, lam: float, beta: float = 4.0) -> dict[str, Any]:
    """Fields of a cell of Table 12."""
    return {"method": "Ours", "alpha": alpha, "beta": beta, "lam": lam}


def weights(settings: Settings, *, alphas: Sequence[float] = _ALPHAS, lambdas: Sequence[float] = _LAMBDAS,
            attacks: Sequence[str] = ("natural", "PGD-20")) -> Grid:
    """Table 12: alpha at lambda 0.001, then lambda at alpha 0.5.

    Parameters
    ----------
    settings : Settings
        As for Table 4; alpha 0 and 1 are also two of the ablations.
    alphas, lambdas : sequence of float
        The weights.
    attacks : sequence of str
        As for `evaluation_attacks`.

    Returns
    -------
    Grid
        A case for each pair of weights.

    References
    ----------
    Yu et al. (2022), Table 12.
    """
    pairs = dict.fromkeys([(float(a), 0.001) for a in alphas] + [(0.5, float(lam)) for lam in lambdas])
    cases = [Case(_weights_name(a, lam), ours(alpha=a, lam=lam), _weights_fields(a, lam)) for a, lam in pairs]
    own = _weights_name(0.5, 0.001)
    whole = [(a, 0.001) for a in _ALPHAS] + [(0.5, lam) for lam in _LAMBDAS]
    published = _cells("12", [m for pair in whole for m in _accuracies(_weights_fields(*pair))])
    return _run(settings, "12", cases, attacks, contrasts=_against(own, [case.name for case in cases], attacks), published=published)


def estimators(settings: Settings, *, names: Sequence[str] = tuple(_ESTIMATORS), attacks: Sequence[str] = ("natural", "PGD-20")) -> Grid:
    """Table 13: the dependence of the two latents by three measures, each with the paper's lambda.

    Parameters
    ----------
    settings : Settings
        As for Table 4, whose training with HSIC is found again.
    names : sequence of str
        Out of HSIC, MINE, MIGE.
    attacks : sequence of str
        As for `evaluation_attacks`.

    Returns
    -------
    Grid
        A case for each measure.

    Raises
    ------
    ValueError
        Unknown measure.

    References
    ----------
    Yu et al. (2022), Table 13.
    """
    unknown = [name for name in names if name not in _ESTIMATORS]
    if unknown:
        raise ValueError(f"names must be out of {', '.join(_ESTIMATORS)}, got {unknown}; correct them")
    cases = [Case(name, ours(f"Ours ({name})", dependence=_ESTIMATORS[name][0], lam=_ESTIMATORS[name][1]), {"lam": _ESTIMATORS[name][1]})
             for name in names]
    published = _cells("13", [m for name in _ESTIMATORS for m in _accuracies({"method": f"Ours ({name})"})])
    return _run(settings, "13", cases, attacks, contrasts=_against("HSIC", tuple(_ESTIMATORS), attacks), published=published)


def location(settings: Settings, *, softmax_lambdas: Sequence[float] = (0.1, 0.01, 0.001),
             attacks: Sequence[str] = ("natural", "PGD-20")) -> Grid:
    """Table 14: divergence and dependence on the softmax, or on the latent before the last layer.

    Parameters
    ----------
    settings : Settings
        As for Table 4, whose training with the latent is found again.
    softmax_lambdas : sequence of float
        Weights of the dependence on the softmax; on the latent it is 0.001.
    attacks : sequence of str
        As for `evaluation_attacks`.

    Returns
    -------
    Grid
        A case for each place and weight.

    References
    ----------
    Yu et al. (2022), Table 14.
    """
    latent = Case("latent, lambda 0.001", ours("Ours @ p(z|x)"), {"lam": 0.001})
    cases = [Case(f"softmax, lambda {lam:g}", ours("Ours @ p(y|x)", location="softmax", lam=float(lam)), {"lam": float(lam)})
             for lam in softmax_lambdas] + [latent]
    places = [("Ours @ p(y|x)", lam) for lam in (0.1, 0.01, 0.001)] + [("Ours @ p(z|x)", 0.001)]
    published = _cells("14", [m for network in ("ResNet18", "WideResNet-34-10") for method, lam in places
                              for m in _accuracies({"model": network, "method": method, "lam": lam})])
    return _run(settings, "14", cases, attacks, contrasts=_against(latent.name, [case.name for case in cases], attacks), published=published)


# --- Table 9 ------------------------------------------------------------------------------------------------------------
def data_efficiency(settings: Settings, *, methods: Sequence[str] = ("Standard", "TRADES", "MART", "Ours"),
                    fractions: Sequence[float] = (0.4, 0.6, 0.8), attacks: Sequence[str] = ("natural", "PGD-20"),
                    reading: str = "natural") -> Grid:
    """Table 9: training on a share of the training images, the test set whole.

    Parameters
    ----------
    settings : Settings
        As for Table 4.
    methods : sequence of str
        Out of `METHODS`.
    fractions : sequence of float
        In (0, 1].
    attacks : sequence of str
        As for `evaluation_attacks`.
    reading : str
        The attack beside which the paper's number is put: its text speaks of performance, its caption of the manipulation attack.

    Returns
    -------
    Grid
        A case for each method and share.

    Raises
    ------
    ValueError
        A reading that is none of the attacks.

    References
    ----------
    Yu et al. (2022), Table 9.
    """
    if reading not in attacks:
        raise ValueError(f"reading must be one of the attacks {', '.join(attacks)}, got {reading!r}; add it to them")
    cases = [Case(_share_name(v.name, share), v, _WHOLE_SET | {"train_fraction": float(share)}, float(share), 100 * float(share))
             for v in _variants(methods) for share in fractions]
    contrasts = tuple(c for share in fractions for c in
                      _against(_share_name("Ours", share), [_share_name(m, share) for m in methods], [reading]))
    published = _cells("9", [{"method": m, "train_fraction": share} for m in ("Standard", "TRADES", "MART", "Ours") for share in (0.4, 0.6, 0.8)])
    return _run(settings, "9", cases, attacks, contrasts=contrasts, published=published, beside=(reading,),
                note=f"the printed number read as accuracy under {reading}")


def _share_name(method: str, share: float) -> str:
    """Name of a case of Table 9."""
    return f"{method}, {100 * share:g} %"


# --- Table 6 ------------------------------------------------------------------------------------------------------------
def black_box(settings: Settings, *, methods: Sequence[str] = ("Standard", "TRADES", "MMA", "MART", "Ours"),
              attacks: Sequence[str] = ("natural", "PGD-10", "PGD-20", "PGD-40", "C&W(l2)", "Square"), surrogate: str = "resnet50",
              surrogate_epochs: int | None = None, queries: int = 5000) -> Grid:
    """Table 6: images attacked on a surrogate trained on clean images, then shown to the model.

    Parameters
    ----------
    settings : Settings
        As for Table 4, whose trainings are found again.
    methods : sequence of str
        Out of `METHODS`.
    attacks : sequence of str
        As for `evaluation_attacks`, or "Square".
    surrogate : str
        Its architecture.
    surrogate_epochs : int, optional
        Length of its training; the settings' if not given.
    queries : int
        Of the square attack on the surrogate, and again on the model itself, which stands in the last column.

    Returns
    -------
    Grid
        A case for each method; "Square by queries" asks the model itself.

    References
    ----------
    Yu et al. (2022), Table 6.
    """
    variants, square = _variants(methods), Square(settings.threat, queries=queries)
    suite = evaluation_attacks(settings, [a for a in attacks if a != "Square"]) | ({"Square": square} if "Square" in attacks else {})
    study = Study(settings, parts=(len(variants) + 1) * len(settings.seeds))
    counts: dict[str, list[dict[str, Count]]] = {v.name: [] for v in variants}
    for seed in settings.seeds:
        source = study.trained(replace(SURROGATE, architecture=surrogate), seed, epochs=surrogate_epochs)
        sets = _transferred(source, study, suite)
        for v in variants:
            model = study.trained(v, seed)
            asked = {name.replace("Square", "Square by queries"): a for name, a in suite.items() if name == "Square"}
            counts[v.name].append(_shown(model, sets, study.attacked[1]) | study.counts(model, asked))
    return Grid(study, "6", {v.name: Case(v.name, v) for v in variants}, counts, _against("Ours", methods, [a for a in attacks if a != "natural"]),
                _cells("6", [m for v in ("Standard", "TRADES", "MMA", "MART", "Ours") for m in _black_box_fields(v)]),
                {"model": "ResNet18 (surrogate ResNet-50)"}, "black-box {}", note=f"made on a surrogate {surrogate} trained on clean images")


def _black_box_fields(method: str) -> list[dict[str, Any]]:
    """Fields of the cells of one line of Table 6."""
    return _accuracies({"method": method}, [f"black-box {a}" for a in ("PGD-10", "PGD-20", "PGD-40", "C&W(l2)", "Square")])


def _transferred(source: nn.Module, study: Study, suite: Mapping[str, Any]) -> dict[str, tuple[Tensor, str]]:
    """The test images after each attack on the surrogate, made once for all models, with the attack in words."""
    images, labels = (part.to(next(source.parameters()).device) for part in study.attacked)
    found = {}
    for name, attack in suite.items():
        batches = zip(images.split(250), labels.split(250), strict=True)
        found[name] = (images if attack is None else torch.cat([attack(source, x, y) for x, y in batches]), "" if attack is None else str(attack))
    return found


@torch.no_grad()
def _shown(model: nn.Module, sets: Mapping[str, tuple[Tensor, str]], labels: Tensor) -> dict[str, Count]:
    """Correct images among attacked ones that were made elsewhere."""
    device = next(model.parameters()).device
    right = {name: sum(int((model(x.to(device)).argmax(1) == y.to(device)).sum()) for x, y in zip(x_adv.split(500), labels.split(500), strict=True))
             for name, (x_adv, _) in sets.items()}
    return {name: Count(right[name], len(labels), text) for name, (_, text) in sets.items()}


# --- Figure 3 -----------------------------------------------------------------------------------------------------------
def trade_off(settings: Settings, *, betas: Mapping[str, Sequence[float]], attacks: Sequence[str] = ("natural", "PGD-20")) -> Grid:
    """Figure 3: clean and robust accuracy of three methods over their weight beta.

    Parameters
    ----------
    settings : Settings
        As for Table 4; trainings with its weights are found again.
    betas : mapping of str to sequence of float
        For "Ours", "TRADES", "MART".
    attacks : sequence of str
        As for `evaluation_attacks`; the last one is the robust accuracy.

    Returns
    -------
    Grid
        A case for each method and weight.

    Raises
    ------
    ValueError
        A method without such a weight.

    References
    ----------
    Yu et al. (2022), Figure 3; weights in [0.1, 30], which ones is not stated.
    """
    if not set(betas) <= {"Ours", "TRADES", "MART"}:
        raise ValueError(f"betas must be given for Ours, TRADES, MART, got {sorted(betas)}; the others have no such weight")
    cases = [Case(f"{method}, beta {beta:g}", ours(beta=float(beta)) if method == "Ours" else of_method(method, beta=float(beta)), at=float(beta))
             for method, values in betas.items() for beta in values]
    return _run(settings, "Figure 3", cases, attacks)


def undominated(grid: Grid) -> list[str]:
    """The cases that no other one beats on clean images and under the last attack at once.

    Parameters
    ----------
    grid : Grid
        From `trade_off`.

    Returns
    -------
    list of str
        Names of cases.
    """
    points = {name: (grid.accuracy(name, "natural"), grid.accuracy(name, grid.attacks[-1])) for name in grid.cases}
    return [a for a, (x, y) in points.items() if not any((u >= x and v >= y and (u, v) != (x, y)) for u, v in points.values())]


def trade_off_verdict(grid: Grid) -> str:
    """One sentence: which method holds the upper right edge of the figure.

    Parameters
    ----------
    grid : Grid
        From `trade_off`.

    Returns
    -------
    str
        Computed; the paper's points are only drawn, so nothing is compared with them.
    """
    edge = undominated(grid)
    every = {case.variant.name for case in grid.cases.values()}
    holders = list(dict.fromkeys(grid.cases[name].variant.name for name in edge))
    only = "Ours alone" if holders == ["Ours"] else ", ".join(holders)
    return (f"Not comparable in numbers: the paper draws its points without printing them. {grid.study.settings.reduced()}. "
            f"No other point is better in both accuracies than: {', '.join(edge)}. The edge is held by {only} of {', '.join(sorted(every))}; "
            f"the paper's claim that its own method lies above the other two {'holds' if holders == ['Ours'] else 'does not hold'} here.")


# --- figures ------------------------------------------------------------------------------------------------------------
def plot_grid(grid: Grid, title: str | None = None) -> Any:
    """Accuracy of every case under every attack with its interval; the paper's value as a diamond where it is of this data set.

    Parameters
    ----------
    grid : Grid
        What was measured.
    title : str, optional
        `Grid.claim` if not given.

    Returns
    -------
    matplotlib.figure.Figure
    """
    import matplotlib.pyplot as plt

    names, spread = list(reversed(grid.cases)), 0.7
    figure, axis = plt.subplots(figsize=(7.5, 1.3 + max(0.35, 0.11 * len(grid.attacks)) * len(names)))
    for i, name in enumerate(names):
        for k, (attack, row) in enumerate(grid._rows_of(name).items()):
            y = i + spread * (0.5 - (k + 0.5) / len(grid.attacks))
            _dot(axis, row, y, _PALETTE[k % len(_PALETTE)], f"{attack} (n={row.n})" if i == 0 else None)
            if row.paper is not None and grid.study.settings.dataset == "cifar10":
                axis.plot(row.paper["mean"], y, "D", color="black", markerfacecolor="none", markersize=5)
    axis.set(yticks=range(len(names)), yticklabels=names, ylim=(-0.6, len(names) - 0.4), xlabel=_axis(grid))
    axis.set_title(title or grid.claim(), loc="left")
    axis.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
    return finished(figure)


def _axis(grid: Grid) -> str:
    """Label of an axis of accuracies."""
    return f"accuracy, % ({grid.study.settings.dataset}, {grid.study.settings.threat}; line: 95 % interval)"


def _dot(axis: Any, row: Row, y: float, colour: str, label: str | None) -> None:
    """A value with its interval as a line."""
    if row.interval is not None:
        axis.hlines(y, max(row.interval[0], 0), min(row.interval[1], 100), color=colour, linewidth=1.5)
    axis.plot(row.value, y, "o", color=colour, markersize=5, label=label)


def plot_curves(grid: Grid, *, xlabel: str, attack: str | None = None) -> Any:
    """Accuracy of every method over the place of its cases.

    Parameters
    ----------
    grid : Grid
        With cases that have a place `at`, such as those of `data_efficiency`.
    xlabel : str
        What the place is, with its unit.
    attack : str, optional
        Under which; the first of those beside the paper's numbers if not given.

    Returns
    -------
    matplotlib.figure.Figure
        The title is `Grid.claim`.
    """
    import matplotlib.pyplot as plt

    under = attack or (grid.beside or grid.attacks)[0]
    figure, axis = plt.subplots(figsize=(6.5, 3.6))
    methods = dict.fromkeys(case.variant.name for case in grid.cases.values())
    for k, (method, colour) in enumerate(zip(methods, _PALETTE, strict=False)):
        chosen = sorted((case for case in grid.cases.values() if case.variant.name == method), key=lambda case: case.at)
        rows = [grid._rows_of(case.name)[under] for case in chosen]
        places = [case.at + 0.4 * (k - len(methods) / 2) for case in chosen]
        ends = [row.interval or (row.value, row.value) for row in rows]
        bars = [[r.value - e[0] for r, e in zip(rows, ends, strict=True)], [e[1] - r.value for r, e in zip(rows, ends, strict=True)]]
        axis.errorbar(places, [row.value for row in rows], yerr=bars, color=colour, marker="o", capsize=2, label=method)
    axis.set(xlabel=xlabel, ylabel="clean accuracy, %" if under == "natural" else f"accuracy under {under}, %")
    axis.set_title(grid.claim(), loc="left", fontsize=10)
    axis.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
    return finished(figure)


def plot_trade_off(grid: Grid) -> Any:
    """Robust over clean accuracy, one curve for each method, each point a weight.

    Parameters
    ----------
    grid : Grid
        From `trade_off`.

    Returns
    -------
    matplotlib.figure.Figure
        The title names the methods on the upper right edge.
    """
    import matplotlib.pyplot as plt

    robust = grid.attacks[-1]
    figure, axis = plt.subplots(figsize=(6.5, 3.8))
    for method, colour in zip(dict.fromkeys(case.variant.name for case in grid.cases.values()), _PALETTE, strict=False):
        chosen = sorted((case for case in grid.cases.values() if case.variant.name == method), key=lambda case: case.at)
        points = [(grid.accuracy(case.name, "natural"), grid.accuracy(case.name, robust)) for case in chosen]
        axis.plot(*zip(*points, strict=True), "-o", color=colour, label=method)
        for case, point in zip(chosen, points, strict=True):
            axis.annotate(f" {case.at:g}", point, fontsize=7, color=colour, va="bottom")
    holders = ", ".join(dict.fromkeys(grid.cases[name].variant.name for name in undominated(grid)))
    settings = grid.study.settings
    axis.set(xlabel=f"clean accuracy, % ({settings.dataset}; beside a point: beta)", ylabel=f"accuracy under {robust}, % ({settings.threat})")
    axis.set_title(f"No point beats in both accuracies: {holders}", loc="left")
    axis.legend(fontsize=7)
    return finished(figure)
