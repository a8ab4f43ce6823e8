"""What lives as long as a worker, as every request sees it."""

from __future__ import annotations

from typing import TypedDict

from greenr_luigi.web.classifier import Classifier
from greenr_luigi.web.feedback import Feedback
from greenr_luigi.web.fetching import Fetcher
from greenr_luigi.web.intake import Intake
from greenr_luigi.web.settings import Settings


class State(TypedDict):
    settings: Settings
    classifier: Classifier
    fetcher: Fetcher
    intake: Intake
    feedback: Feedback
