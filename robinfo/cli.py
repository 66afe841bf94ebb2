"""The command ``robinfo``: list, show, run and sweep experiments, and write the scoreboard."""
from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = ["app", "main"]

app = typer.Typer(name="robinfo", no_args_is_help=True, add_completion=False, rich_markup_mode=None,
                  pretty_exceptions_enable=False,
                  help="Information-theoretic robustness: run the papers' experiments and compare the numbers.")

Results = Annotated[Path | None, typer.Option("--results", metavar="DIR", help="Results folder, instead of "
                                              "$ROBINFO_RESULTS or results/.")]


def _version(wanted: bool) -> None:
    """Print the version and stop."""
    if wanted:
        import robinfo

        typer.echo(f"robinfo {robinfo.__version__}")
        raise typer.Exit


@app.callback()
def _options(version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True,
                                                   help="Print the version.")] = False) -> None:
    """Information-theoretic robustness: run the papers' experiments and compare the numbers."""


@app.command("list", help="List the experiments, with their titles and profiles.")
def list_experiments() -> None:
    """List the experiments, with their titles and profiles.

    Examples
    --------
    ``robinfo list``
    """
    from robinfo.experiments import experiments

    found = experiments()
    width = max((len(experiment.name) for experiment in found), default=0)
    for experiment in found:
        typer.echo(f"{experiment.name:<{width}}  {experiment.title} ({', '.join(experiment.profiles)})")


@app.command(help="Show an experiment's parameters and profiles.")
def show(name: Annotated[str, typer.Argument(metavar="NAME", help="The experiment.")]) -> None:
    """Show an experiment's parameters and profiles.

    Parameters
    ----------
    name : str
        The experiment.

    Examples
    --------
    ``robinfo show quickstart``
    """
    from robinfo.experiments import experiments, parameters

    declared = parameters(name)
    experiment = next(found for found in experiments() if found.name == name)
    typer.echo(f"{name}: {experiment.title}\n")
    lines = [("parameter", "type", "default", *experiment.profiles, "meaning")]
    for parameter in declared.values():
        settings = (_text(values[parameter.name]) if parameter.name in values else "·"
                    for values in experiment.profiles.values())
        lines.append((parameter.name, parameter.type, _text(parameter.default), *settings, parameter.help))
    typer.echo(_columns(lines))


@app.command(help="Run an experiment; continue it, or find it finished.")
def run(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The experiment; see `robinfo list`.")],
    profile: Annotated[str, typer.Option(metavar="smoke|cpu|paper", help="Named settings.")] = "smoke",
    parameter: Annotated[list[str] | None, typer.Option("--parameter", "-p", metavar="KEY=VALUE", help="One parameter, "
                                                        "over the profile's; repeat for more.")] = None,
    results: Results = None,
    force: Annotated[bool, typer.Option("--force", help="Repeat a finished run.")] = False,
    keep_checkpoints: Annotated[bool, typer.Option("--keep-checkpoints", help="Keep training checkpoints.")] = False,
) -> None:
    """Run an experiment, continue an interrupted run, or find the finished one.

    Parameters
    ----------
    name : str
        The experiment.
    profile : str
        Named settings from the file beside the notebook.
    parameter : list of str
        Texts ``KEY=VALUE``.
    results : Path
        Results folder.
    force : bool
        Repeat a finished run.
    keep_checkpoints : bool
        Keep the training checkpoints of a finished run.

    Examples
    --------
    ``robinfo run quickstart --profile smoke -p seed=1``
    """
    from robinfo.experiments.launcher import RunInterrupted, run_text

    options: dict[str, Any] = {"results": results, "force": force, "keep_checkpoints": keep_checkpoints}
    try:
        typer.echo(run_text(name, profile, parameter or [], **options))
    except RunInterrupted as stopped:  # typer would turn it into a silent exit
        raise typer.Exit(_stop(130, str(stopped))) from None


@app.command(help="Run a grid of parameters, spread over workers; again: only what is missing.")
def sweep(
    grid: Annotated[Path, typer.Argument(metavar="GRID.yaml", help="The runs: experiment, profile, grid, list, zip, seeds, cluster.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the runs, what is finished and the cost of the rest.")] = False,
    workers: Annotated[int | None, typer.Option("--workers", metavar="N", help="Runs at a time, instead of the grid's.")] = None,
    scheduler: Annotated[str | None, typer.Option("--scheduler", metavar="ADDRESS", help="A running Dask scheduler.")] = None,
    results: Results = None,
) -> None:
    """Run what is missing of a grid of parameters on local workers, a Dask cluster or SLURM.

    Parameters
    ----------
    grid : Path
        A YAML file, see `robinfo.experiments.sweeps.read_grid`.
    dry_run : bool
        Only say what would be run.
    workers : int
        Runs at a time.
    scheduler : str
        Address of a running Dask scheduler.
    results : Path
        Results folder.

    Examples
    --------
    ``robinfo sweep grid.yaml --workers 2``
    """
    from robinfo.experiments import sweeps

    if dry_run:
        content = sweeps.read_grid(grid)
        typer.echo(sweeps.plan_sweep(content, results=results).text(sweeps.worker_count(content, workers)))
        return
    outcomes = sweeps.sweep(grid, results=results, workers=workers, scheduler=scheduler)
    failed = [outcome.run.label for outcome in outcomes if outcome.status == "failed"]
    typer.echo(f"{len(outcomes) - len(failed)} of {len(outcomes)} finished" + (f"; failed: {'; '.join(failed)}" if failed else ""))
    if failed:
        raise typer.Exit(1)


@app.command(help="Write the scoreboard and the page of claims from every recorded run; print the counts.")
def report(results: Results = None) -> None:
    """Write the scoreboard and the page of claims from every recorded run, print where they are and the counts.

    Parameters
    ----------
    results : Path
        Results folder.

    Examples
    --------
    ``robinfo report``
    """
    from robinfo.experiments.scoreboard import write_report

    typer.echo(write_report(results))


def _text(value: Any) -> str:
    """A value as it is typed behind ``-p KEY=``."""
    words = {True: "true", False: "false", None: "null"}
    return words[value] if value is None or isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def _columns(lines: list[tuple[str, ...]]) -> str:
    """Texts in aligned columns."""
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines)


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code.

    Parameters
    ----------
    arguments : list of str, optional
        Instead of those of the command line.

    Returns
    -------
    int
        0 for success, 1 for a failed run, 2 for a request that cannot be run, 130 after a keyboard interrupt.

    Examples
    --------
    >>> main(["--version"])
    robinfo 0...
    0
    """
    from robinfo.experiments.launcher import RunFailed, UsageError

    wrong_use: Any = typer.BadParameter.__mro__[2]  # click's ClickException, wherever this typer keeps its click
    try:
        code = app(args=arguments, prog_name="robinfo", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except wrong_use as error:
        return _stop(2, f"{error.format_message()} (robinfo --help)")
    except (UsageError, ValueError) as error:
        return _stop(2, str(error))
    except (RunFailed, OSError) as error:
        return _stop(1, str(error))
    except (KeyboardInterrupt, typer.Abort):
        return _stop(130, "interrupted")


def _stop(code: int, message: str) -> int:
    """Print an error and return the exit code."""
    print(f"robinfo: error: {message}" if code != 130 else f"robinfo: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
