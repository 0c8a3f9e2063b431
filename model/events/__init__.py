"""Events: what was shown and what came of it, as both sides write and read them.

An exposure is one answered ranking; feedback is what a viewer did with one of its items. Knows neither HTTP
nor how the two are joined.
"""

from model.events.catalogue import EventCatalogue, FeedbackKind
from model.events.exposures import Candidates, Exposure, PackedCandidates
from model.events.feedback import Feedback, FeedbackJudge
from model.events.folder import EventFolder
from model.events.origin import Origin, Shown

__all__ = [
    "Candidates",
    "EventCatalogue",
    "EventFolder",
    "Exposure",
    "Feedback",
    "FeedbackJudge",
    "FeedbackKind",
    "Origin",
    "PackedCandidates",
    "Shown",
]
