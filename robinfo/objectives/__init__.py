"""What a method optimises: one class for each, trained by `robinfo.training.fit`."""
from robinfo.objectives.adversarial import AdversarialTraining, Standard
from robinfo.objectives.base import Objective
from robinfo.objectives.infomax import InfoMax

__all__ = ["AdversarialTraining", "InfoMax", "Objective", "Standard"]
