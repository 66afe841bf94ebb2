"""Experiments: parameterised notebooks that are found, checked, run, recorded and compared with the papers.

`run` executes one notebook with a profile of settings and returns its folder; `sweep` runs a grid of them on a cluster;
`report` turns every recorded ``metrics.json`` into the scoreboard page. Importing this package imports neither torch nor papermill.
"""
from robinfo.experiments.launcher import (
    Experiment,
    Parameter,
    ParameterTypeError,
    RunFailed,
    RunInterrupted,
    UsageError,
    experiments,
    parameters,
    run,
)
from robinfo.experiments.record import report
from robinfo.experiments.sweeps import Outcome, Sweep, plan_sweep, sweep

__all__ = [
    "Experiment",
    "Outcome",
    "Parameter",
    "ParameterTypeError",
    "RunFailed",
    "RunInterrupted",
    "Sweep",
    "UsageError",
    "experiments",
    "parameters",
    "plan_sweep",
    "report",
    "run",
    "sweep",
]
