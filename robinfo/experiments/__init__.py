"""Experiments: parameterised notebooks that are found, checked, run, recorded and compared with the papers.

`run` executes one notebook with a profile of settings and returns its folder; `report` turns every recorded
``metrics.json`` into the scoreboard page. Importing this package imports neither torch nor papermill.
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

__all__ = [
    "Experiment",
    "Parameter",
    "ParameterTypeError",
    "RunFailed",
    "RunInterrupted",
    "UsageError",
    "experiments",
    "parameters",
    "report",
    "run",
]
