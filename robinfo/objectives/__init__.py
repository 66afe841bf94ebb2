"""What a method optimises: one class for each, trained by `robinfo.training.fit`."""
from robinfo.objectives.adversarial import AdversarialTraining, Standard
from robinfo.objectives.base import Objective, Ramp
from robinfo.objectives.infomax import InfoMax
from robinfo.objectives.label_hypothesis import VIB, InformationElimination, LabelHypothesis
from robinfo.objectives.regularised import MART, MMA, TRADES
from robinfo.objectives.shared_information import LogLinear, SharedInformation

__all__ = ["MART", "MMA", "TRADES", "VIB", "AdversarialTraining", "InfoMax", "InformationElimination", "LabelHypothesis", "LogLinear", "Objective", "Ramp",
           "SharedInformation", "Standard"]
