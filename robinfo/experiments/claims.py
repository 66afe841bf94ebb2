"""The page *Claims*: one line for each claim of each paper, with a verdict and where it comes from.

Claims of theory are the `robinfo.theory.claims.Claim` objects of the theory notebooks, tried on random instances. Claims about
measurements are `EmpiricalClaim` objects: each reads the recorded runs and returns a `Finding`, so that verdicts and numbers
follow the results as they come in. Nothing is typed by hand.
"""
from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, Literal

from robinfo.experiments.published import markdown_table, published_cells
from robinfo.experiments.record import Row, checkout
from robinfo.experiments.scoreboard import PAPERS, Measured, Run, Scoreboard, filters, number, value_text

__all__ = ["CLAIM_VERDICTS", "EMPIRICAL", "EmpiricalClaim", "Finding", "JudgedClaim", "claims_page", "judged_claims", "ordering"]

CLAIM_VERDICTS = ("proved", "refuted as printed, corrected", "supported", "not supported", "refuted", "not tested")
_REDUCED = " at reduced settings"
_INSTANCES, _SEED = 100, 2020
_THEORY_PAPERS = {"Zhu 2020": "Zhu2020", "Yu 2022": "Yu2022", "Guess First 2019": "GuessFirst2019"}
_THEORY_VERDICTS = {"holds as printed": "proved", "wrong as printed": "refuted as printed, corrected",
                    "undefined as printed": "refuted as printed, corrected", "correction refuted": "refuted"}

_INTRODUCTION = """# Claims

One line for each claim of each paper: what is said, the verdict, and the notebook or the run behind it. Statements of theory
were derived again; those that fail as printed are corrected, and the corrected form is proved. Claims about measurements
are judged from the recorded runs when this page is written: nothing here is typed by hand. The page
[Paper versus measured](scoreboard.md) has the numbers.

- *Proved* / *refuted as printed, corrected*: tried on random instances ([errata](theory/09_errata.ipynb) has the formulas that
  replace the printed ones, with more instances) and proved in the notebook that the line links to.
- *Supported*: most of the comparisons that the claim makes come out its way, by more than their confidence intervals, and none
  the other way. *Refuted*: more come out the other way; for a claim about every case, one is enough. *Not supported*: neither.
- *Not tested*: no recorded run says anything about it.
- *At reduced settings*: smaller networks, fewer images or fewer epochs than in the paper, often other data. Such a verdict is
  about what was run, and may change at the paper's settings.
"""


# --- what a claim is --------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Finding:
    """What one run says about a claim.

    Attributes
    ----------
    yes, no, undecided : int
        How many of its comparisons come out as claimed, the other way, or neither by more than their intervals.
    sentence : str
        The same with numbers, in Markdown.

    Examples
    --------
    >>> Finding(2, 0, 1, "") + Finding(1, 1, 0, "")
    Finding(yes=3, no=1, undecided=1, sentence='')
    """

    yes: int
    no: int
    undecided: int
    sentence: str = ""

    def __add__(self, other: Finding) -> Finding:
        """The comparisons of both, without words."""
        return Finding(self.yes + other.yes, self.no + other.no, self.undecided + other.undecided)

    def verdict(self, every: bool) -> str:
        """Supported, not supported or refuted.

        Parameters
        ----------
        every : bool
            Whether the claim is about every case.

        Returns
        -------
        str
            One of `CLAIM_VERDICTS`.

        Examples
        --------
        >>> Finding(8, 1, 0).verdict(every=True), Finding(8, 1, 0).verdict(every=False), Finding(8, 0, 3).verdict(every=False)
        ('refuted', 'not supported', 'supported')
        """
        if self.no and (every or self.no > self.yes):
            return "refuted"
        enough = not self.undecided if every else self.yes > self.undecided
        return "supported" if self.yes and not self.no and enough else "not supported"


Evidence = Mapping[str, Measured]
Read = Callable[[Run, Evidence], Finding | None]


@dataclass(frozen=True)
class EmpiricalClaim:
    """A claim about measurements.

    Attributes
    ----------
    paper : str
        Key of the paper, as in the published cells.
    place : str
        Where it is said.
    text : str
        What is said, in our words.
    experiments : tuple of str
        The experiments whose runs are asked; the notebooks that the line links to.
    read : callable
        From a run and its rows by published cell to a `Finding`; None where the run says nothing.
    every : bool
        Whether it is said of every case, so that one counterexample refutes it.
    printed : callable, optional
        The paper's own numbers on the claim, as a sentence.

    Examples
    --------
    >>> len(EMPIRICAL) > 30, {claim.paper for claim in EMPIRICAL} <= set(PAPERS)
    (True, True)
    """

    paper: str
    place: str
    text: str
    experiments: tuple[str, ...]
    read: Read
    every: bool = False
    printed: Callable[[], str] | None = None


@dataclass(frozen=True)
class JudgedClaim:
    """A claim with its verdict.

    Attributes
    ----------
    paper, place, text : str
        As in `EmpiricalClaim`.
    kind : str
        ``"theory"`` or ``"measurement"``.
    base : str
        One of `CLAIM_VERDICTS`.
    reduced : bool
        Whether all runs behind it had reduced settings.
    why : str
        Numbers, corrected forms and links, in Markdown.
    notebooks : tuple of str
        Where it is proved or tested, relative to the notebooks' folder.

    Examples
    --------
    >>> JudgedClaim("Zhu2020", "Section", "text", "measurement", "supported", True, "", ()).verdict
    'supported at reduced settings'
    """

    paper: str
    place: str
    text: str
    kind: Literal["theory", "measurement"]
    base: str
    reduced: bool
    why: str
    notebooks: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """The verdict as shown."""
        return self.base + _REDUCED * self.reduced


# --- comparing recorded numbers ---------------------------------------------------------------------------------------
Relation = Literal["above", "not below"]
Spread = tuple[float, float, float]


def relation(first: Spread, second: Spread, wanted: Relation = "above") -> int:
    """Whether one number stands to another as claimed: 1 yes, -1 no, 0 undecided.

    Parameters
    ----------
    first, second : (float, float, float)
        Lower end, value and upper end of each.
    wanted : {"above", "not below"}
        *Above*: yes if the intervals are apart, the first higher. *Not below*: yes if the first value is at least the second.
        Either way no if the intervals are apart, the first lower.

    Returns
    -------
    int
        1, -1 or 0.

    Examples
    --------
    >>> relation((3, 4, 5), (0, 1, 2)), relation((0, 1, 2), (3, 4, 5)), relation((1, 2, 3), (2, 3, 4)), relation((1, 3, 4), (2, 3, 4), "not below")
    (1, -1, 0, 1)
    """
    if first[2] < second[0]:
        return -1
    return int(first[0] > second[2] if wanted == "above" else first[1] >= second[1])


def spread(row: Row) -> Spread:
    """The lower end, the value and the upper end of a row; a number without an interval is its own.

    Parameters
    ----------
    row : Row
        As recorded.

    Returns
    -------
    (float, float, float)
        In the row's unit.

    Examples
    --------
    >>> spread(Row(metric="m", value=1, unit="nats", n=3, dataset="d", model="e", method="o"))
    (1.0, 1.0, 1.0)
    """
    low, high = row.interval or (row.value, row.value)
    return low, row.value, high


def compared(pairs: Iterable[tuple[Row, Row, str]], wanted: Relation = "above") -> Finding | None:
    """Count how many pairs of recorded numbers stand to each other as claimed, and quote one.

    Parameters
    ----------
    pairs : iterable of (Row, Row, str)
        The number that is said to be higher, the other, and the quantity in words.
    wanted : {"above", "not below"}
        See `relation`.

    Returns
    -------
    Finding or None
        None without pairs. A counterexample is quoted if there is one, else the pair farthest apart.

    Examples
    --------
    >>> compared([]) is None
    True
    """
    found = list(pairs)
    if not found:
        return None
    signs = [relation(spread(a), spread(b), wanted) for a, b, _ in found]
    counts = Counter(signs)
    shown = max(range(len(found)), key=lambda i: (signs[i] == -1, signs[i] == 1, abs(found[i][0].value - found[i][1].value)))
    a, b, what = found[shown]
    quote = f"{'against it' if signs[shown] == -1 else 'for example'} {what}: {_who(a, b)} {value_text(a)}, {_who(b, a)} {value_text(b)}"
    told = _told(counts[1], counts[-1], counts[0], wanted)
    return Finding(counts[1], counts[-1], counts[0], f"{told}; {quote}")


def _who(row: Row, other: Row) -> str:
    """What tells a row from the other one of its pair."""
    for key in ("method", "metric", "model", "attack"):
        if getattr(row, key) != getattr(other, key):
            return str(getattr(row, key)).replace("_", " ")
    return row.method


def _words(row: Row) -> str:
    """The quantity of a row, with its attack."""
    return ", ".join(filter(None, (row.metric.replace("_", " "), row.attack)))


def _told(yes: int, no: int, undecided: int, wanted: Relation = "above") -> str:
    """The counts in words."""
    rest = [f"{no} the other way"] if no else []
    rest += [f"{undecided} undecided"] if undecided else []
    word = {"above": "as claimed", "not below": "no lower"}[wanted]
    return f"{yes} of {yes + no + undecided} comparisons {word}" + (f" ({', '.join(rest)})" if rest else "")


# --- claims that are orderings of published cells ---------------------------------------------------------------------
_SAME = ("table", "dataset", "metric", "attack", "head", "alpha", "lam", "train_fraction")
Pair = tuple[Mapping[str, Any], Mapping[str, Any]]


def pairs_of(paper: str, tables: Sequence[str], first: str | Sequence[str], second: str | Sequence[str], *,
             metric: str = "", attack: str = "", free: Sequence[str] = (), **fields: Any) -> tuple[Pair, ...]:
    """Pairs of published cells that differ in the method only.

    Parameters
    ----------
    paper : str
        Key of the paper.
    tables : sequence of str
        Its tables.
    first, second : str or sequence of str
        Methods: those that are said to be higher, and the others.
    metric, attack : str
        Beginnings that both cells must have; empty for any.
    free : sequence of str
        Fields that may differ as well.
    **fields : object
        Fields of the first cell.

    Returns
    -------
    tuple of (cell, cell)
        In the paper's order.

    Examples
    --------
    >>> [[c["mean"] for c in pair] for pair in pairs_of("GuessFirst2019", ("1",), "C-DV", "CNN", metric="natural")]
    [[98.9, 98.8]]
    """
    firsts, seconds = ([names] if isinstance(names, str) else list(names) for names in (first, second))
    cells = [c for c in published_cells() if c["paper"] == paper and c["table"] in tables
             and c["metric"].startswith(metric) and str(c["attack"] or "").startswith(attack)]
    same = [key for key in _SAME if key not in free]
    return tuple((a, b) for a in cells if a["method"] in firsts and all(a.get(key) == value for key, value in fields.items())
                 for b in cells if b["method"] in seconds and a is not b and all(a.get(key) == b.get(key) for key in same)
                 and (a["model"] == b["model"] or a["model"] == a["method"]))


def ordering(paper: str, place: str, text: str, experiments: Sequence[str], pairs: Sequence[Pair], *,
             wanted: Relation = "above", every: bool = False, first: Read | None = None) -> EmpiricalClaim:
    """A claim that cells of the paper's tables stand in an order; the paper's own numbers are compared as well.

    Parameters
    ----------
    paper, place, text, experiments, every :
        See `EmpiricalClaim`.
    pairs : sequence of (cell, cell)
        The cell that is said to be higher and the other; see `pairs_of`.
    wanted : {"above", "not below"}
        See `relation`.
    first : callable, optional
        Asked before the cells, for runs that say something else about the claim.

    Returns
    -------
    EmpiricalClaim
        Its `read` compares the rows that a run recorded for these cells.

    Raises
    ------
    ValueError
        Without pairs: a claim about no cell is a slip.

    Examples
    --------
    >>> ordering("Zhu2020", "Table", "text", (), ())
    Traceback (most recent call last):
    ValueError: a claim needs pairs of published cells, got none for 'text'; check the names of its methods
    """
    if not pairs:
        raise ValueError(f"a claim needs pairs of published cells, got none for {text!r}; check the names of its methods")

    def read(run: Run, evidence: Evidence) -> Finding | None:
        """Compare what the run recorded for the cells."""
        if first is not None and (other := first(run, evidence)) is not None:
            return other
        found = ((evidence[a["cell"]].row, evidence[b["cell"]].row, _words(evidence[a["cell"]].row)) for a, b in pairs
                 if a["cell"] in evidence and b["cell"] in evidence)
        return compared(found, wanted)

    def printed() -> str:
        """Compare the printed numbers, within twice their printed deviations."""
        signs = Counter(relation(_band(a), _band(b), wanted) for a, b in pairs)
        return f"As printed: {_told(signs[1], signs[-1], signs[0], wanted)}"

    return EmpiricalClaim(paper, place, text, tuple(experiments), read, every, printed)


def _band(cell: Mapping[str, Any]) -> Spread:
    """A published number with twice its deviation, where one is printed."""
    return cell["mean"] - 2 * (cell["std"] or 0.0), cell["mean"], cell["mean"] + 2 * (cell["std"] or 0.0)


# --- claims read from other rows --------------------------------------------------------------------------------------
def rows_of(run: Run, *metrics: str, **fields: str) -> list[Row]:
    """The rows of a run with a metric and with fields that begin as given.

    Parameters
    ----------
    run : Run
        The run.
    *metrics : str
        Names of quantities, of which one must agree.
    **fields : str
        Beginnings of fields.

    Returns
    -------
    list of Row
        In the order recorded.

    Examples
    --------
    >>> from robinfo.experiments.record import Metrics
    >>> rows_of(Run("a/b", Metrics("a", "cpu", {}, {}, ()), ""), "vulnerability")
    []
    """
    return [row for row in run.metrics.rows if row.metric in metrics
            and all(str(getattr(row, key)).startswith(value) for key, value in fields.items())]


def _by_network(run: Run, metric: str) -> dict[tuple[str, str], Row]:
    """The rows of a quantity by architecture and training."""
    return {(row.model.split(",")[0], row.method): row for row in rows_of(run, metric)}


def _between_methods(metric: str, first: str, second: str) -> Read:
    """Whether a quantity is higher for one training than for another, in each architecture."""
    def read(run: Run, _: Evidence) -> Finding | None:
        """Compare the two trainings of one run."""
        rows = _by_network(run, metric)
        found = ((row, rows[model, second], f"{metric.replace('_', ' ')}, {model}") for (model, method), row in rows.items()
                 if method == first and (model, second) in rows)
        return compared(found)

    return read


def _correlation(run: Run, _evidence: Evidence) -> Finding | None:
    """Whether the vulnerability and the accuracy gap rise together: the recorded correlation, else the one of the ranks."""
    recorded = [row for row in run.metrics.rows if "correlation" in row.metric]
    if recorded:
        low, _, high = spread(recorded[0])
        return Finding(low > 0, high < 0, low <= 0 <= high, f"{recorded[0].metric.replace('_', ' ')} {value_text(recorded[0])}")
    lost, natural, attacked = (_by_network(run, name) for name in ("vulnerability", "natural_accuracy", "adversarial_accuracy"))
    keys = [key for key in lost if key in natural and key in attacked]
    if len(keys) < 4:
        return None
    value = _spearman([lost[key].value for key in keys], [natural[key].value - attacked[key].value for key in keys])
    width = 1.96 / math.sqrt(len(keys) - 3)
    low, high = (math.tanh(math.atanh(max(min(value, 0.999), -0.999)) + side * width) for side in (-1, 1))
    return Finding(low > 0, high < 0, low <= 0 <= high, f"rank correlation {value:+.2f} over {len(keys)} networks, "
                   f"{'beyond' if low > 0 or high < 0 else 'within'} what chance allows so few")


def _spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """Rank correlation; ties share their ranks."""
    def ranks(values: Sequence[float]) -> list[float]:
        """Mean ranks."""
        return [(sum(v < x for v in values) + sum(v <= x for v in values) + 1) / 2 for x in values]

    a, b = ranks(first), ranks(second)
    middle = (len(a) + 1) / 2
    both = sum((x - middle) * (y - middle) for x, y in zip(a, b, strict=True))
    scale = math.sqrt(sum((x - middle) ** 2 for x in a) * sum((y - middle) ** 2 for y in b))
    return both / scale if scale else 0.0


def _ceilings(run: Run, _: Evidence) -> Finding | None:
    """Whether the ceiling from the estimated worst-case information lies above the measured adversarial accuracy."""
    limits, accuracies = _by_network(run, "accuracy_upper_bound_plug_in"), _by_network(run, "adversarial_accuracy")
    found = ((limits[key], accuracies[key], ", ".join(key)) for key in limits if key in accuracies)
    return compared(found, "not below")


def _ensemble_above_pgd(run: Run, _: Evidence) -> Finding | None:
    """AutoAttack minus PGD for each way in which the stochastic network answers; said of CIFAR-10 only."""
    rows = rows_of(run, "AutoAttack minus PGD-40")
    if not rows or any(row.dataset.lower() != "cifar10" for row in rows):
        return None
    signs = Counter(relation(spread(row), (0.0, 0.0, 0.0)) for row in rows)
    shown = "; ".join(f"{row.method} {value_text(row)}" for row in rows)
    return Finding(signs[1], signs[-1], signs[0], f"AutoAttack minus PGD-40: {shown}")


def _strongest(run: Run, _: Evidence) -> Finding | None:
    """Label hypotheses against the baseline under the strongest attack that was found for each."""
    rows = rows_of(run, "robust_accuracy", attack="worst case over all")
    base = {row.threat: row for row in rows if row.method == "CNN"}
    found = compared((row, base[row.threat], f"the worst case over all attacks, {row.threat}") for row in rows
                     if row.method.startswith("C-") and row.threat in base)
    return found


def _ablations(run: Run, evidence: Evidence) -> Finding | None:
    """Whether each reduced objective loses natural or robust accuracy against the whole one."""
    cells = [c for c in published_cells() if c["paper"] == "Yu2022" and c["table"] == "10" and c["cell"] in evidence]
    names = list(dict.fromkeys(c["method"] for c in cells))
    whole = {c["metric"]: evidence[c["cell"]].row for c in cells if c["method"] == _WHOLE}
    signs = []
    for name in names:
        own = {c["metric"]: evidence[c["cell"]].row for c in cells if c["method"] == name}
        losses = [relation(spread(whole[metric]), spread(row)) for metric, row in own.items() if metric in whole]
        if name != _WHOLE and losses:
            signs.append(max(losses))
    counts = Counter(signs)
    told = f"{counts[1]} of {len(signs)} reduced objectives lose natural or robust accuracy, {len(signs) - counts[1]} do not"
    return Finding(counts[1], counts[-1], counts[0], told) if signs else None


_WHOLE = "Ours ablation: CE(clean) + CE(adv) + D_SKL + I(z;z')"


def _middle_and_largest(pairs: Sequence[Pair]) -> list[Pair]:
    """Pairs of the middle share of the training set with the largest."""
    shares = sorted({cell["train_fraction"] for pair in pairs for cell in pair})
    return [(a, b) for a, b in pairs if (a["train_fraction"], b["train_fraction"]) == (shares[1], shares[-1])]


def _rising(metric: str, weight: str) -> tuple[Pair, ...]:
    """Cells of the table of weights, each with the one before it along one weight; the other as in most cells."""
    other = {"alpha": "lam", "lam": "alpha"}[weight]
    cells = [c for c in published_cells() if c["paper"] == "Yu2022" and c["table"] == "12" and c["metric"] == metric]
    usual = Counter(cell[other] for cell in cells).most_common(1)[0][0]
    line = sorted((c for c in cells if c[other] == usual), key=lambda cell: cell[weight])
    return tuple((higher, lower) for lower, higher in pairwise(line))


def _falling(metric: str) -> Read:
    """Whether a quantity falls with the weight of the objective: neighbours on the curve."""
    def read(run: Run, _: Evidence) -> Finding | None:
        """Compare the neighbouring weights of one run."""
        rows = [row for row in rows_of(run, metric, method="beta =") if "/" not in row.method]
        line = sorted(rows, key=lambda row: float(row.method.split("=")[1]))
        return compared((a, b, metric.replace("_", " ")) for a, b in pairwise(line))

    return read


def _between_bounds(run: Run, _: Evidence) -> Finding | None:
    """Heads above encoders trained by InfoNCE against those above encoders trained by the bound of Donsker and Varadhan."""
    rows = rows_of(run, "natural_accuracy", "adversarial_accuracy", method="trained by nce")
    others = {(row.metric, row.method): row for row in rows_of(run, "natural_accuracy", "adversarial_accuracy", method="trained by dv")}
    names = ((row, (row.metric, row.method.replace("trained by nce", "trained by dv"))) for row in rows)
    return compared((row, others[name], _words(row)) for row, name in names if name in others)


def _kernels(run: Run, _: Evidence) -> Finding | None:
    """The vulnerability of the kernels of the standard network against that of the robust one."""
    rows = [row for row in run.metrics.rows if "vulnerability" in row.metric and "difference" not in row.metric]
    robust = {(row.metric, row.model): row for row in rows if row.method == "robust"}
    return compared((row, robust[row.metric, row.model], _words(row)) for row in rows
                    if row.method == "standard" and (row.metric, row.model) in robust)


def _saliency(start: str) -> Read:
    """The recorded differences between two kinds of saliency maps: noise that falls, alignment that rises."""
    def read(run: Run, _: Evidence) -> Finding | None:
        """Count the differences of one run by their sign."""
        rows = [row for row in run.metrics.rows if row.metric.endswith("_difference") and row.method.startswith(start)]
        signs = Counter((-1 if "noisiness" in row.metric else 1) * relation(spread(row), (0.0, 0.0, 0.0)) for row in rows)
        shown = "; ".join(f"{row.metric.replace('_', ' ')} ({row.method}) {value_text(row)}" for row in rows[:3])
        return Finding(signs[1], signs[-1], signs[0], f"{_told(signs[1], signs[-1], signs[0])}; {shown}") if rows else None

    return read


def _estimates(run: Run, _: Evidence) -> Finding | None:
    """How often the estimated vulnerability lies inside the interval that is certain; its recorded error is then zero."""
    rows = rows_of(run, "error of vulnerability")
    if not rows:
        return None
    inside = sum(row.value == 0 for row in rows)
    worst = max(rows, key=lambda row: abs(row.value))
    told = f"the estimate lies inside the interval that is certain in {inside} of {len(rows)} cases"
    far = f"; farthest outside: {number(worst.value, worst.unit)} {worst.unit} ({worst.method}, {worst.model}, {worst.threat})" if worst.value else ""
    return Finding(inside, len(rows) - inside, 0, told + far)


def _silent(run: Run, evidence: Evidence) -> Finding | None:
    """A claim that no recorded number decides."""
    return None


def _printed_ensemble() -> str:
    """The two cells of the paper."""
    cells = {c["attack"]: c for c in published_cells() if c["paper"] == "Yu2022" and c["table"] == "4" and c["dataset"] == "CIFAR-10"
             and c["method"] == "Ours"}
    return f"As printed: AutoAttack {cells['AA']['mean']:.2f} %, PGD-40 {cells['PGD-40']['mean']:.2f} %"


# --- the registry -----------------------------------------------------------------------------------------------------
_Z, _Y, _G = "Zhu2020", "Yu2022", "GuessFirst2019"
_HEADS = ("1", "3", "4", "5")
_RIVALS = ("Standard", "TRADES", "MMA", "MART")
_HYPOTHESES = ("C-DV", "C-JS", "C-DV-IE", "C-JS-IE")
_TABLE1, _BOUNDS, _SALIENCY = ("worst_case_mi_table1",), ("worst_case_mi_bounds",), ("worst_case_mi_saliency",)
_WHITE_BOX = ("shared_information_table4", "shared_information_table5")
_BOTH = ("guess_first_table1", "guess_first_table2")


def _heads(first: str, second: str, metric: str, tables: Sequence[str] = _HEADS) -> tuple[Pair, ...]:
    """Cells of the tables of downstream heads."""
    return pairs_of(_Z, tables, first, second, metric=metric)


def _ours(tables: Sequence[str], metric: str) -> tuple[Pair, ...]:
    """The shared-information method against each rival."""
    return pairs_of(_Y, tables, "Ours", _RIVALS, metric=metric)


def _guess(first: str | Sequence[str], second: str | Sequence[str], metric: str = "robust", **fields: Any) -> tuple[Pair, ...]:
    """Cells of both tables of the label-hypothesis paper."""
    return pairs_of(_G, ("1", "2"), first, second, metric=metric, **fields)


_WORST_CASE = (
    ordering(_Z, "Section 6.2, Tables 1, 3, 4, 5", "A head above a representation trained for the worst case keeps more accuracy under "
             "attack than the same head above one trained the usual way (Hjelm et al.).", _TABLE1,
             [*_heads("Ours / h=Standard", "Hjelm et al. (2018) / h=Standard", "adversarial"),
              *_heads("Ours / h=Robust", "Hjelm et al. (2018) / h=Robust", "adversarial")]),
    ordering(_Z, "Section 6.2, Tables 1, 3, 4, 5", "Above a vulnerable representation no robust classifier can be found: adversarial "
             "training of the head costs most of its natural accuracy.", _TABLE1,
             _heads("Hjelm et al. (2018) / h=Standard", "Hjelm et al. (2018) / h=Robust", "natural")),
    ordering(_Z, "Section 6.2, Tables 1, 3, 4, 5", "A robust head above the worst-case representation comes up to fully supervised "
             "adversarial training.", _TABLE1, _heads("Ours / h=Robust", "Fully-Supervised Robust", "adversarial"), wanted="not below"),
    ordering(_Z, "Section 6.2, Table 1", "On CIFAR-10 the worst-case representation also gives more natural accuracy than the usual one.",
             _TABLE1, _heads("Ours / h=Standard", "Hjelm et al. (2018) / h=Standard", "natural", ("1",))),
    ordering(_Z, "Section 6.2, Table 3", "On MNIST it does not.", _TABLE1,
             _heads("Hjelm et al. (2018) / h=Standard", "Ours / h=Standard", "natural", ("3",)), wanted="not below"),
    ordering(_Z, "Tables 1, 3, 4, 5", "Stopping the training of a standard head early makes it more robust.", _TABLE1,
             _heads("Ours / h=Standard (E.S.)", "Ours / h=Standard", "adversarial")),
    EmpiricalClaim(_Z, "Section 6.1, Figure 1", "The larger the vulnerability of the logit layer, the larger the gap between natural and "
                   "adversarial accuracy.", _BOUNDS, _correlation),
    EmpiricalClaim(_Z, "Section 6.1, Figure 1", "Adversarial training lowers the vulnerability of the logit layer.", _BOUNDS,
                   _between_methods("vulnerability", "standard", "robust")),
    EmpiricalClaim(_Z, "Section 6.1, Figure 2", "Robust networks keep more worst-case information in their logits than standard ones.",
                   _BOUNDS, _between_methods("worst_case_mi", "robust", "standard")),
    EmpiricalClaim(_Z, "Section 6.2, Figure 2", "Robust networks also carry more normal-case information in their logits.", _BOUNDS,
                   _between_methods("normal_mi", "robust", "standard")),
    EmpiricalClaim(_Z, "Section 6.1, Figure 2", "The ceiling that Theorem 3.4 gives at the estimated worst-case information lies above "
                   "the measured adversarial accuracy.", _BOUNDS, _ceilings, every=True),
    EmpiricalClaim(_Z, "Section 4", "A neural critic and attacks give the vulnerability of a representation.",
                   ("exact_vulnerability",), _estimates),
    EmpiricalClaim(_Z, "Section 5, Eq. 5.2", "The larger the weight of the vulnerability in the objective, the less vulnerable the "
                   "representation.", ("worst_case_mi_beta",), _falling("vulnerability")),
    EmpiricalClaim(_Z, "Section 5, Eq. 5.2", "A large weight costs normal-case information.", ("worst_case_mi_beta",),
                   _falling("normal_mi")),
    EmpiricalClaim(_Z, "Code of the authors, README", "Training with the bound InfoNCE may serve slightly better than with the bound of Donsker "
                   "and Varadhan.", ("worst_case_mi_estimators",), _between_bounds),
    EmpiricalClaim(_Z, "Section 6.1, Figure 3", "The kernels of the second layer are less vulnerable in a robust network than in a standard one.",
                   ("worst_case_mi_figure3",), _kernels),
    EmpiricalClaim(_Z, "Section 6.2, Figure 4", "Saliency maps of the worst-case representation are less noisy and align better with the image "
                   "than those of the usual one.", _SALIENCY, _saliency("Ours − Hjelm")),
    EmpiricalClaim(_Z, "Section 6.1, Figure 5", "Saliency maps of the kernels of a robust network are easier to interpret than those of a "
                   "standard one.", _SALIENCY, _saliency("robust − standard, kernels")),
)

_SHARED_INFORMATION = (
    ordering(_Y, "Section 4.3, Tables 4, 5", "The method keeps as much accuracy under every white-box attack as adversarial training, TRADES, "
             "MMA and MART, or more.", _WHITE_BOX, _ours(("4", "5"), "robust"), wanted="not below", every=True),
    ordering(_Y, "Section 4.3, Tables 4, 5", "It keeps the natural accuracy of the others.", _WHITE_BOX, _ours(("4", "5"), "natural"),
             wanted="not below", every=True),
    EmpiricalClaim(_Y, "Table 4", "On CIFAR-10, AutoAttack leaves the network more accuracy than PGD-40 does, which no ensemble with a stronger PGD "
                   "can do to a network that answers the same each time.", ("claims_audit_shared_information",), _ensemble_above_pgd,
                   every=True, printed=_printed_ensemble),
    ordering(_Y, "Section 4.3, Table 6", "Under black-box attacks it keeps as much as the others, or more.", ("shared_information_table6",),
             _ours(("6",), "robust"), wanted="not below", every=True),
    ordering(_Y, "Section 4.4, Table 7", "It does better than the others under attacks on the representation, at each strength.",
             ("shared_information_table7",), _ours(("7",), "robust"), every=True),
    ordering(_Y, "Section 4.5, Table 8", "Its training costs more time.", ("shared_information_table8",),
             pairs_of(_Y, ("8",), "Ours", ("Baseline", "TRADES", "MART"), metric="train_time")),
    ordering(_Y, "Section 4.5, Table 9", "With the middle share of the training set it is as accurate as TRADES with the largest.",
             ("shared_information_table9",), _middle_and_largest(pairs_of(_Y, ("9",), "Ours", "TRADES", free=("train_fraction",))),
             wanted="not below"),
    EmpiricalClaim(_Y, "Section 4.6, Table 10", "Each part of the objective is needed: without it, natural or robust accuracy falls.",
                   ("shared_information_table10",), _ablations, every=True),
    ordering(_Y, "Appendix A.1, Table 11", "With early stopping, too, it is the most robust.", ("shared_information_table11",),
             _ours(("11",), "robust"), every=True),
    ordering(_Y, "Appendix A.2, Table 12", "A larger weight on the adversarial cross-entropy helps the robust accuracy.",
             ("shared_information_table12",), _rising("robust_accuracy", "alpha")),
    ordering(_Y, "Appendix A.2, Table 12", "A larger weight on the dependence of the representations helps the natural accuracy.",
             ("shared_information_table12",), _rising("natural_accuracy", "lam")),
    ordering(_Y, "Appendix A.3, Table 13", "HSIC serves better than the estimators of mutual information MINE and MIGE.",
             ("shared_information_table13",), pairs_of(_Y, ("13",), "Ours (HSIC)", ("Ours (MINE)", "Ours (MIGE)"), free=("lam",))),
    ordering(_Y, "Appendix A.4, Table 14", "For the wide network the regulariser belongs on the representation rather than on the softmax.",
             ("shared_information_table14",), pairs_of(_Y, ("14",), "Ours @ p(z|x)", "Ours @ p(y|x)", model="WideResNet-34-10")),
    EmpiricalClaim(_Y, "Section 4.2, Figure 3", "Its curve of robust against natural accuracy lies beyond those of TRADES and MART.",
                   ("shared_information_figure3",), _silent),
)

_LABEL_HYPOTHESES = (
    ordering(_G, "Section 3.1, Tables 1, 2", "Label hypotheses make a network more robust than the same network without them, all round.",
             _BOTH, _guess(_HYPOTHESES, "CNN"), every=True),
    ordering(_G, "Section 3.1, Tables 1, 2", "They make it more robust than the variational information bottleneck does (Alemi et al.).",
             _BOTH, _guess(_HYPOTHESES, "Alemi et al."), every=True),
    ordering(_G, "Abstract, Section 3.1", "They cost no natural accuracy.", _BOTH, _guess(_HYPOTHESES, "CNN", "natural"),
             wanted="not below", every=True),
    ordering(_G, "Section 3.1, black-box", "Black-box, the two networks with the Donsker-Varadhan objective exceed those with the "
             "Jensen-Shannon objective.", _BOTH, [*_guess("C-DV", "C-JS", threat="black-box"), *_guess("C-DV-IE", "C-JS-IE", threat="black-box")]),
    ordering(_G, "Sections 2.3, 3.1", "Removing label information from a layer makes the network more robust.", _BOTH,
             [*_guess("C-DV-IE", "C-DV"), *_guess("C-JS-IE", "C-JS")]),
    ordering(_G, "Section 3.1, white-box", "Under white-box attacks that bound the largest change of a pixel the Jensen-Shannon networks stand "
             "out.", _BOTH, [pair for pair in [*_guess("C-JS", "C-DV", threat="white-box"), *_guess("C-JS-IE", "C-DV-IE", threat="white-box")]
                             if "linf" in str(pair[0]["attack"])]),
    ordering(_G, "Section 3.1, white-box", "Under the white-box Carlini-Wagner attack the Donsker-Varadhan networks do.", _BOTH,
             [*_guess("C-DV", "C-JS", threat="white-box", attack="C&W"), *_guess("C-DV-IE", "C-JS-IE", threat="white-box", attack="C&W")]),
    ordering(_G, "Section 3.1, white-box", "Under white-box attacks they keep more than the same network without them; here also under the "
             "strongest of many attacks.", (*_BOTH, "claims_audit_guess_first"), _guess(_HYPOTHESES, "CNN", threat="white-box"), first=_strongest),
    EmpiricalClaim(_G, "Section 3.1", "The cost of trying every label is negligible on a GPU.", (), _silent),
)

EMPIRICAL: tuple[EmpiricalClaim, ...] = (*_WORST_CASE, *_SHARED_INFORMATION, *_LABEL_HYPOTHESES)


# --- verdicts ---------------------------------------------------------------------------------------------------------
def judged_claims(board: Scoreboard) -> list[JudgedClaim]:
    """Every claim with its verdict: of theory from trials on random instances, of measurements from the recorded runs.

    Parameters
    ----------
    board : Scoreboard
        From `robinfo.experiments.scoreboard.scoreboard`.

    Returns
    -------
    list of JudgedClaim
        By paper, theory first.

    Examples
    --------
    >>> from robinfo.experiments.scoreboard import scoreboard
    >>> {claim.verdict for claim in judged_claims(scoreboard(())) if claim.kind == "measurement"}
    {'not tested'}
    """
    evidence = _evidence(board)
    found = [*_theory_claims(), *(_judge(claim, board.runs, evidence) for claim in EMPIRICAL)]
    return sorted(found, key=lambda claim: list(PAPERS).index(claim.paper))


def _evidence(board: Scoreboard) -> dict[str, dict[str, Measured]]:
    """The rows of each run by published cell; of several the one nearest to the cell."""
    found: dict[str, dict[str, Measured]] = {run.name: {} for run in board.runs}
    for key, rows in board.cells.items():
        for measured in rows:
            found[measured.run.name].setdefault(key, measured)
    return found


def _judge(claim: EmpiricalClaim, runs: Sequence[Run], evidence: Mapping[str, Evidence]) -> JudgedClaim:
    """A claim about measurements with its verdict, from the runs with the best settings among those that say something."""
    asked = ((run, claim.read(run, evidence.get(run.name, {}))) for run in runs if run.metrics.experiment in claim.experiments)
    found = [(run, finding) for run, finding in asked if finding is not None]
    newest: dict[tuple[object, ...], tuple[Run, Finding]] = {}
    for run, finding in found:  # the newest of each kind comes first
        if run.rank == min(other.rank for other, _ in found):
            newest.setdefault((run.metrics.experiment, *_data_and_threats(run)), (run, finding))
    best = list(newest.values())
    total = sum((finding for _, finding in best), Finding(0, 0, 0))
    sentences = [f"{_run_link(run)}: {finding.sentence}" for run, finding in best]
    sentences += [claim.printed()] if claim.printed else []
    verdict = total.verdict(claim.every) if best else "not tested"
    notebooks = tuple(f"experiments/{name}.ipynb" for name in claim.experiments)
    return JudgedClaim(claim.paper, claim.place, claim.text, "measurement", verdict, bool(best) and all(run.reduced for run, _ in best),
                       "<br>".join(f"{sentence.rstrip('.')}." for sentence in sentences), notebooks)


def _data_and_threats(run: Run) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The data sets and the threats of a run."""
    rows = run.metrics.rows
    return tuple(dict.fromkeys(row.dataset for row in rows)), tuple(dict.fromkeys(str(row.threat) for row in rows if row.threat))


def _run_link(run: Run) -> str:
    """The link to a run's page, with its data and threat."""
    data, threats = _data_and_threats(run)
    told = ", ".join([*data, *threats] if len(threats) < 3 else data)
    link = run.link.replace(".html", ".ipynb")
    return f"[{told}, profile {run.metrics.profile}]({link})" if link else f"{told}, profile {run.metrics.profile}"


@lru_cache(maxsize=1)
def _theory_claims() -> tuple[JudgedClaim, ...]:
    """The claims of the theory notebooks that the papers make, tried once in a process."""
    from robinfo.theory.claims import check_claim, collect_claims

    found = []
    for claim in collect_claims():
        if claim.asserted:
            check = check_claim(claim, _INSTANCES, _SEED)
            verdict = _THEORY_VERDICTS[check.verdict]
            place = claim.statement.removeprefix(f"{claim.paper}, ")
            fixed = f"**Correct:** {claim.proved}<br>{claim.remark[:1].upper()}{claim.remark[1:].rstrip('.')}." if verdict != "proved" else ""
            found.append(JudgedClaim(_THEORY_PAPERS[claim.paper], place, claim.printed, "theory", verdict, False, fixed,
                                     (f"theory/{claim.proof}",)))
    return tuple(found)


# --- the page ---------------------------------------------------------------------------------------------------------
def claims_page(claims: Sequence[JudgedClaim], *, site: bool = True) -> str:
    """The page *Claims*.

    Parameters
    ----------
    claims : sequence of JudgedClaim
        From `judged_claims`.
    site : bool
        Whether the page lies beside the notebooks, so that links to them lead somewhere.

    Returns
    -------
    str
        Markdown; the same for the same claims.

    Examples
    --------
    >>> print(claims_page([]).splitlines()[0])
    # Claims
    """
    names = [name for base in CLAIM_VERDICTS for name in (base, base + _REDUCED) if any(claim.verdict == name for claim in claims)]
    parts = [_INTRODUCTION if site else _INTRODUCTION.replace("[errata](theory/09_errata.ipynb)", "the errata"), _claim_counts(claims, names), "",
             f"Each statement of theory was tried on {_INSTANCES} random instances (seed {_SEED}).", "", filters(names, "Part")]
    for paper, (title, subject) in PAPERS.items():
        parts += [f"## {title}", "", subject, ""]
        for kind, heading in (("measurement", "What was measured"), ("theory", "What is proved")):
            rows = [_claim_cells(claim, site) for claim in claims if claim.paper == paper and claim.kind == kind]
            parts += [f"### {title.split(' (')[0]}: {heading.lower()}", "", ":::{div} rb-claims", _table(("claim", "verdict", "why and where"), rows),
                      ":::", ""]
    return "\n".join(parts)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table of cells that may hold formulas; bars are escaped where they are not part of one."""
    from robinfo.theory.claims import _cell

    lines = [header, ["---"] * len(header), *([_cell(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _claim_cells(claim: JudgedClaim, site: bool) -> tuple[str, str, str]:
    """The three cells of a claim."""
    mark = CLAIM_VERDICTS.index(claim.base)
    verdict = f'<span class="rb-c c{mark}">{claim.verdict}</span>'
    links = [_notebook_link(path, "proof" if claim.kind == "theory" else path.split("/")[-1].removesuffix(".ipynb"), site) for path in claim.notebooks]
    where = ", ".join(links)
    lines = (claim.why, where) if claim.kind == "theory" else (claim.why, where and f"Notebook: {where}")
    why = ("<br>" if claim.kind == "measurement" else " ").join(filter(None, lines))
    return f"**{claim.place[:1].upper()}{claim.place[1:]}**<br>{claim.text}", verdict, why or "–"


def _notebook_link(path: str, text: str, site: bool) -> str:
    """A link to a notebook; its name where there is none to link to."""
    root = checkout()
    there = site and root is not None and (root / "nbs" / path.split("#")[0]).is_file()
    return f"[{text}]({path})" if there else f"`{path.split('/')[-1].split('#')[0]}`"


def _claim_counts(claims: Sequence[JudgedClaim], names: Sequence[str]) -> str:
    """How many claims of each paper have which verdict."""
    rows = []
    for title, wanted in [("All three papers", list(claims)), *((PAPERS[p][0], [c for c in claims if c.paper == p]) for p in PAPERS)]:
        counts = Counter(claim.verdict for claim in wanted)
        rows.append((title, str(len(wanted)), *(str(counts[name]) for name in names)))
    return markdown_table(("", "claims", *names), rows)
