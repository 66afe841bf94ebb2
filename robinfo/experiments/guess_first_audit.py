"""Audit of one claim of the label-hypothesis paper (2019): the large white-box robustness of C-JS, which the paper itself doubts.

The paper prints for C-JS more accuracy where an attack sees the model's gradients than where it follows a substitute's, and says that the
objective "potentially" masks gradients. Here all models meet attacks that do not depend on the same gradients, and what every one of them leaves is counted.
"""
from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from robinfo.attacks import APGD, PGD, AutoAttack, Square, Transfer, difference_of_logits_ratio, margin
from robinfo.audit import AuditReport, audit
from robinfo.checks import check_count
from robinfo.experiments.guess_first import colour_of, summary
from robinfo.experiments.guess_first_study import (
    METHODS,
    SUBSTITUTE,
    Cell,
    Settings,
    Study,
    attack_of,
    check_methods,
    network_of,
    paper_cell,
)
from robinfo.experiments.models_store import Count, apart
from robinfo.experiments.record import Row, markdown_table
from robinfo.figures import BLACK, GREY
from robinfo.theory.confidence import binomial_interval
from robinfo.threats import Linf
from robinfo.training import readable_time

__all__ = ["Audit", "Searches", "claims_audit", "plot_claims_audit"]

Attack = Callable[..., Tensor]
PAPERS, WORST = "PGD as in the paper", "worst case over all"
_BLIND = ("Square", "composite with LeNet-5", "transfer from LeNet-5", "transfer from CNN")  # attacks that do not see the model's gradient
_MASKING = (3, 5, 7, 8, 10, 11, 15)  # checks of the audit that look for masked gradients


@dataclass(frozen=True, kw_only=True)
class Searches:
    """How hard the attacks of the audit search.

    Parameters
    ----------
    restarts : int
        Random starts of PGD where it is not the paper's.
    steps : int
        Of APGD and FAB, alone and within AutoAttack; the benchmark's number is 100.
    queries : int
        Of Square, alone and within AutoAttack; the benchmark's number is 5000.
    members : sequence of str
        Of AutoAttack, such as "apgd-ce" and "square"; none: the standard four.
    audit_images : int
        Images given to `robinfo.audit.audit`; 0 leaves the audit out.
    budget : {"quick", "full"}
        Of the audit.

    Raises
    ------
    ValueError
        A number out of range.

    Examples
    --------
    >>> suite = Searches(restarts=5).attacks(Settings(dataset="mnist"), 0.3, {})
    >>> list(suite)[:4]
    ['PGD as in the paper', 'FGSM', 'PGD, 5 starts', 'PGD on the margin']
    """

    restarts: int = 10
    steps: int = 100
    queries: int = 5000
    members: Sequence[str] = ()
    audit_images: int = 100
    budget: Literal["quick", "full"] = "quick"

    def __post_init__(self) -> None:
        for name in ("restarts", "steps", "queries"):
            check_count(getattr(self, name), name)
        check_count(self.audit_images, "audit_images", minimum=0)

    def attacks(self, settings: Settings, eps: float, others: dict[str, nn.Module]) -> dict[str, Attack]:
        """The attacks of one radius.

        Parameters
        ----------
        settings : Settings
            Steps of PGD.
        eps : float
            Radius.
        others : dict of str to nn.Module
            Networks from which examples are transferred, by name.

        Returns
        -------
        dict of str to callable
            The paper's PGD first.
        """
        ball, hard = Linf(eps), {"steps": settings.pgd_steps, "restarts": self.restarts, "seed": 0, "drop_fooled": "steps"}
        custom: Any = {"version": "custom", "attacks": tuple(self.members)} if self.members else {}
        return {
            PAPERS: attack_of(Cell("PGD", "white-box", eps), settings),
            "FGSM": attack_of(Cell("FGSM", "white-box", eps), settings),
            f"PGD, {self.restarts} starts": PGD(ball, **hard),  # type: ignore[arg-type]
            "PGD on the margin": PGD(ball, loss=margin, **hard),  # type: ignore[arg-type]
            "PGD on the logits' ratio": PGD(ball, loss=difference_of_logits_ratio, **hard),  # type: ignore[arg-type]
            "APGD": APGD(ball, steps=self.steps),
            "APGD, targeted": APGD(ball, loss="targeted", steps=self.steps),
            "Square": Square(ball, queries=self.queries),
            "AutoAttack": AutoAttack(ball, steps=self.steps, queries=self.queries, **custom),
            **({"composite with LeNet-5": attack_of(Cell("PGD", "composite", eps), settings, others["LeNet-5"])} if "LeNet-5" in others else {}),
            **{f"transfer from {name}": Transfer(other, PGD(ball, **hard)) for name, other in others.items()},  # type: ignore[arg-type]
        }


# --- what was found -----------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Audit:
    """Which images stand after each attack, and what the audit says.

    Attributes
    ----------
    study : Study
        Data and settings.
    searches : Searches
        The attacks.
    clean : dict of str to Tensor
        By model: bool [N], over the images of all seeds.
    alive : dict of (str, float, str) to Tensor
        By model, radius and attack.
    words : dict of (float, str) to str
        The attacks with their settings.
    audits : dict of str to AuditReport or str
        By model, at the first radius; a text says why an audit was not made.
    """

    study: Study
    searches: Searches
    clean: dict[str, Tensor]
    alive: dict[tuple[str, float, str], Tensor]
    words: dict[tuple[float, str], str]
    audits: dict[str, AuditReport | str]

    @property
    def n(self) -> int:
        """Images, over all seeds."""
        return len(next(iter(self.clean.values())))

    def attacks(self, method: str, eps: float) -> tuple[str, ...]:
        """Names of the attacks that a model met.

        Parameters
        ----------
        method : str
            By name.
        eps : float
            Radius.

        Returns
        -------
        tuple of str
            The paper's PGD first.
        """
        return tuple(name for m, e, name in self.alive if (m, e) == (method, eps))

    def standing(self, method: str, eps: float, attack: str) -> Tensor:
        """Which images stand.

        Parameters
        ----------
        method : str
            By name.
        eps : float
            Radius.
        attack : str
            By name, or `WORST`: after every attack the model met.

        Returns
        -------
        Tensor
            Bool, [N].
        """
        if attack != WORST:
            return self.alive[method, eps, attack]
        return torch.stack([self.alive[method, eps, name] for name in self.attacks(method, eps)]).all(0)

    def share(self, method: str, eps: float, attack: str) -> tuple[float, tuple[float, float]]:
        """Accuracy under an attack.

        Parameters
        ----------
        method, eps, attack
            As for `standing`.

        Returns
        -------
        (float, (float, float))
            Per cent, with a 95 % interval over the images.
        """
        k = int(self.standing(method, eps, attack).sum())
        return 100 * k / self.n, binomial_interval(k, self.n, scale=100)

    def excess(self, method: str, eps: float) -> tuple[float, tuple[float, float]]:
        """By how much the paper's PGD leaves too much: the images it leaves and another attack does not.

        Parameters
        ----------
        method : str
            By name.
        eps : float
            Radius.

        Returns
        -------
        (float, (float, float))
            Points, with a 95 % interval over the images.
        """
        k = int((self.standing(method, eps, PAPERS) & ~self.standing(method, eps, WORST)).sum())
        return 100 * k / self.n, binomial_interval(k, self.n, scale=100)

    def strongest(self, method: str, eps: float) -> str:
        """The single attack that leaves least; the first of several.

        Parameters
        ----------
        method : str
            By name.
        eps : float
            Radius.

        Returns
        -------
        str
            Its name.
        """
        return min(self.attacks(method, eps), key=lambda name: int(self.standing(method, eps, name).sum()))

    def blind(self, method: str, eps: float) -> list[str]:
        """Attacks without the model's gradient that leave less than the paper's PGD, beyond two standard errors.

        Parameters
        ----------
        method : str
            By name.
        eps : float
            Radius.

        Returns
        -------
        list of str
            Their names.
        """
        base = (int(self.standing(method, eps, PAPERS).sum()), self.n)
        return [a for a in self.attacks(method, eps) if a in _BLIND and apart(base, (int(self.standing(method, eps, a).sum()), self.n)) > 2]

    def flags(self, method: str) -> list[str]:
        """Checks for masked gradients that flag.

        Parameters
        ----------
        method : str
            By name.

        Returns
        -------
        list of str
            Number and name.
        """
        report = self.audits.get(method)
        return [f"{row.number} {row.check}" for row in report.flags if row.number in _MASKING] if isinstance(report, AuditReport) else []

    @property
    def rows(self) -> list[Row]:
        """Every accuracy, and by how much the paper's PGD leaves too much, for ``metrics.json``."""
        s, rows = self.study.settings, []
        number = {"fashion_mnist": "2"}.get(s.dataset, "1")
        rows += [self._row(Cell("clean"), m, self.clean[m], number, "") for m in self.clean]
        for (m, eps, name), alive in self.alive.items():
            cell = Cell({PAPERS: "PGD", "FGSM": "FGSM"}.get(name, name), "white-box" if name in (PAPERS, "FGSM") else "", eps)
            rows.append(self._row(cell, m, alive, number if cell.access else None, self.words[eps, name]))
        for m, eps in dict.fromkeys((m, eps) for m, eps, _ in self.alive):
            rows.append(self._row(Cell(WORST, "", eps), m, self.standing(m, eps, WORST), None, "each image under every attack"))
            gap, interval = self.excess(m, eps)
            rows.append(Row(metric="overstatement_by_the_papers_pgd", value=gap, unit="pp", n=self.n, interval=interval, dataset=s.dataset,
                            model=network_of(m), method=m, attack=WORST, threat=str(Linf(eps)), seeds=tuple(s.seeds), settings=s.reduced()))
        return rows

    def _row(self, cell: Cell, method: str, alive: Tensor, table: str | None, words: str) -> Row:
        """One accuracy."""
        row = self.study.row(cell, method, [Count(int(alive.sum()), len(alive), words)], table)
        return row if cell.access or cell.kind == "clean" else _renamed(row, cell)

    def table(self) -> str:
        """Accuracy under every attack, by radius and model.

        Returns
        -------
        str
            A Markdown table.
        """
        lines = [["", "clean", *(f"{100 * float(alive.float().mean()):.1f}" for alive in self.clean.values())]]
        for eps in self.study.settings.epsilons:
            names = list(dict.fromkeys(name for _, e, name in self.alive if e == eps))
            for name in [*names, WORST]:
                lines.append([f"{eps:g}", name, *(f"{self.share(m, eps, name)[0]:.1f}" if name == WORST or (m, eps, name) in self.alive else "–"
                                                  for m in self.clean)])
            printed = [paper_cell(Cell("PGD", "white-box", eps), {"fashion_mnist": "2"}.get(self.study.settings.dataset, "1"),
                                  self.study.settings.dataset, m) for m in self.clean]
            lines.append([f"{eps:g}", "PGD, printed", *("–" if cell is None else f"{cell['mean']:.1f}" for cell in printed)])
        return markdown_table(["radius", "accuracy, %", *self.clean], lines)

    def audit_table(self) -> str:
        """The checks that flag for some model, by model.

        Returns
        -------
        str
            A Markdown table, and a line for each audit that was not made.
        """
        made = {m: report for m, report in self.audits.items() if isinstance(report, AuditReport)}
        notes = [f"{m}: {report}" for m, report in self.audits.items() if isinstance(report, str)]
        lines = []
        for rows in zip(*(report.rows for report in made.values()), strict=True):
            if any(row.verdict == "flag" for row in rows):
                lines.append([str(rows[0].number), rows[0].check, *(f"**flag**: {r.measured}" if r.verdict == "flag" else r.verdict for r in rows)])
        text = markdown_table(["#", "check", *made], lines) if lines else "No check flags." if made else "No audit was made."
        return "\n\n".join([text, *notes])

    def headline(self) -> str:
        """The model that loses most to stronger attacks, in one sentence."""
        method, eps = max(((m, e) for m, e, _ in self.alive), key=lambda key: self.excess(*key)[0])
        before, after = self.share(method, eps, PAPERS)[0], self.share(method, eps, WORST)[0]
        if before == after:
            return "No attack finds more than the paper's PGD"
        return f"{method} keeps {before:.0f} % under the paper's PGD at {eps:g}, and {after:.0f} % under all attacks"

    def verdict(self) -> str:
        """For each radius: who is overstated and by how much, whether gradients are masked, and what robustness remains."""
        parts = [summary(self.rows, self.study.settings)]
        for eps in self.study.settings.epsilons:
            parts += [f"**At {Linf(eps)}, n = {self.n}.**", "\n".join(f"- {self._finding(m, eps)}" for m in self.clean), self._remains(eps)]
        return "\n\n".join(filter(None, parts))

    def _finding(self, method: str, eps: float) -> str:
        """What was found for one model."""
        before, (after, ends), (gap, (low, _)) = self.share(method, eps, PAPERS)[0], self.share(method, eps, WORST), self.excess(method, eps)
        blind, flags = self.blind(method, eps), self.flags(method)
        masked = (f"masked gradients: less is left by {', '.join(blind)} than by PGD" if blind else
                  "a stronger search finds more" if low > 2 else "PGD was nearly enough")
        checks = f"; checks that flag: {', '.join(flags)}" if flags else ""
        return (f"{method}: {before:.1f} % under the paper's PGD, {after:.1f} % [{ends[0]:.1f}, {ends[1]:.1f}] under all attacks, "
                f"{gap:.1f} points overstated; strongest alone: {self.strongest(method, eps)}; {masked}{checks}")

    def _remains(self, eps: float) -> str:
        """What is left of the models' lead over the baseline."""
        if "CNN" not in self.clean or len(self.clean) < 2:
            return ""

        def lead(method: str, attack: str) -> str:
            """Difference to the baseline under an attack."""
            pair = [int(self.standing(m, eps, attack).sum()) for m in (method, "CNN")]
            sure = abs(apart((pair[0], self.n), (pair[1], self.n))) > 2
            return f"{100 * (pair[0] - pair[1]) / self.n:+.1f}{'' if sure else ' (within two standard errors)'}"

        lines = [f"{m} {lead(m, PAPERS)} → {lead(m, WORST)}" for m in self.clean if m != "CNN"]
        return f"Lead over CNN in points, under the paper's PGD → under all attacks: {'; '.join(lines)}."


def _renamed(row: Row, cell: Cell) -> Row:
    """A row of an attack that is not in the paper's tables, by its own name and in its ball."""
    return replace(row, attack=cell.kind, threat=str(Linf(cell.eps)))


# --- the run ------------------------------------------------------------------------------------------------------------
def claims_audit(settings: Settings, searches: Searches, *, methods: Sequence[str] = METHODS) -> Audit:
    """Every model under attacks that do not depend on the same gradients, and under the twenty checks of the audit.

    Parameters
    ----------
    settings : Settings
        As for Table 1, whose trained models are found again; `attack_images` images are attacked.
    searches : Searches
        The attacks.
    methods : sequence of str
        As for `check_methods`.

    Returns
    -------
    Audit
        Which images stand, and the reports.

    Raises
    ------
    ValueError
        Unknown models.

    References
    ----------
    Zhu, An and Niu (2019), Section 3.1, Appendix F; Athalye, Carlini and Wagner (2018).
    """
    methods = check_methods(methods)
    study = Study(settings, parts=(len(methods) + 1) * len(settings.seeds))
    clean: dict[str, list[Tensor]] = {m: [] for m in methods}
    alive: dict[tuple[str, float, str], list[Tensor]] = {}
    words: dict[tuple[float, str], str] = {}
    audits: dict[str, AuditReport | str] = {}
    for seed in settings.seeds:
        others = {"LeNet-5": study.trained(SUBSTITUTE, seed)}
        for method in methods:
            model = study.trained(method, seed)
            images, labels = (part.to(next(model.parameters()).device) for part in study.attacked)
            clean[method].append(study.standing(model, "clean", None, images, labels).cpu())
            for eps in settings.epsilons:
                for name, attack in searches.attacks(settings, eps, others).items():
                    words[eps, name] = str(attack)
                    alive.setdefault((method, eps, name), []).append(_standing(study, model, f"{name}, {eps:g}", attack, images, labels))
            if searches.audit_images and seed == settings.seeds[0]:
                audits[method] = _audited(study, searches, model, images, labels, others["LeNet-5"])
            if method == "CNN":
                others["CNN"] = model
    return Audit(study, searches, {m: torch.cat(parts) for m, parts in clean.items()}, {k: torch.cat(v) for k, v in alive.items()}, words, audits)


def _standing(study: Study, model: nn.Module, name: str, attack: Attack, images: Tensor, labels: Tensor) -> Tensor:
    """Which images stand after one attack; what the libraries remark is what the audit reports."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return study.standing(model, name, attack, images, labels).cpu()


def _audited(study: Study, searches: Searches, model: nn.Module, images: Tensor, labels: Tensor, substitute: nn.Module) -> AuditReport | str:
    """The audit of the paper's PGD at the first radius; a text where it could not be made."""
    settings, k, started = study.settings, searches.audit_images, time.perf_counter()
    eps = settings.epsilons[0]
    try:
        report: AuditReport | str = audit(model, images[:k], labels[:k], Linf(eps), surrogate=substitute, seed=0, budget=searches.budget,
                                          attacks={PAPERS: attack_of(Cell("PGD", "white-box", eps), settings)})
    except ValueError as error:  # for example no image that is classified correctly
        report = f"not made: {error}"
    print(f"  audit: {readable_time(time.perf_counter() - started)}", flush=True)
    return report


# --- the figure ---------------------------------------------------------------------------------------------------------
def plot_claims_audit(result: Audit) -> Any:
    """Accuracy of every model under the paper's PGD, under each other attack and under all of them; what the paper prints.

    Parameters
    ----------
    result : Audit
        What was measured.

    Returns
    -------
    matplotlib.figure.Figure
        One panel for each radius; the title names the model that loses most.
    """
    import matplotlib.pyplot as plt

    radii, methods = list(result.study.settings.epsilons), list(reversed(result.clean))
    figure, axes = plt.subplots(1, len(radii), figsize=(4.2 * len(radii) + 1.6, 1.2 + 0.42 * len(methods)), sharey=True, squeeze=False)
    for eps, axis in zip(radii, axes[0], strict=True):
        for y, method in enumerate(methods):
            _one_model(axis, result, method, eps, y, label=y == 0)
        axis.set(yticks=range(len(methods)), xlim=(-2, 102), xlabel="accuracy, %", ylim=(-0.6, len(methods) - 0.4))
        axis.set_yticklabels(methods)
        axis.set_title(f"{Linf(eps)}", fontsize=9)
    axes[0][-1].legend(fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    figure.suptitle(f"{result.headline()} ({result.study.settings.dataset}, n = {result.n})", x=0.01, ha="left", fontsize=10, fontweight="bold")
    figure.tight_layout()
    plt.close(figure)
    return figure


def _one_model(axis: Any, result: Audit, method: str, eps: float, y: int, *, label: bool) -> None:
    """One line of the figure."""
    colour = colour_of(method) if colour_of(method) != BLACK else GREY
    before, (after, ends) = result.share(method, eps, PAPERS)[0], result.share(method, eps, WORST)
    axis.hlines(y, after, before, color=colour, linewidth=3, alpha=0.4)
    others = [result.share(method, eps, name)[0] for name in result.attacks(method, eps) if name != PAPERS]
    axis.plot(others, [y] * len(others), "|", color=colour, markersize=8, label="each other attack" if label else None)
    axis.plot(before, y, "o", color=colour, markersize=7, label="PGD as in the paper" if label else None)
    axis.hlines(y, *ends, color=BLACK, linewidth=1)
    axis.plot(after, y, "X", color=BLACK, markersize=6, label="all attacks (95 % interval)" if label else None)
    number = {"fashion_mnist": "2"}.get(result.study.settings.dataset, "1")
    cell = paper_cell(Cell("PGD", "white-box", eps), number, result.study.settings.dataset, method)
    if cell is not None:
        axis.plot(cell["mean"], y, "D", color=BLACK, markerfacecolor="white", markersize=5, label="PGD, printed" if label else None)
