"""What a method optimises: one class for each, trained by `robinfo.training.fit`."""
from robinfo.objectives.adversarial import AdversarialTraining, Standard
from robinfo.objectives.base import Objective, Ramp
from robinfo.objectives.infomax import InfoMax
from robinfo.objectives.regularised import MART, MMA, TRADES
from robinfo.objectives.shared_information import LogLinear, SharedInformation

__all__ = ["MART", "MMA", "TRADES", "AdversarialTraining", "InfoMax", "LogLinear", "Objective", "Ramp", "SharedInformation", "Standard"]
