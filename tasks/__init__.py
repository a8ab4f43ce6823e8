"""The graph: one file a stage, in the order in which data flows.

DownloadImages (one a class) -> SplitDataset -> TrainModel -> EvaluateModel -> ExportModel -> DeployApp

Below DownloadImages of a large class of a person's own there are some PictureShard. It has the settings of that stage,
and so stands behind it.
"""

from greenr_luigi import settings
from tasks.deploy import DeployApp
from tasks.download import DownloadImages
from tasks.evaluate import EvaluateModel
from tasks.export import ExportModel
from tasks.shard import PictureShard
from tasks.split import SplitDataset
from tasks.train import TrainModel

STAGES = (DownloadImages, PictureShard, SplitDataset, TrainModel, EvaluateModel, ExportModel, DeployApp)
__all__ = [stage.__name__ for stage in STAGES]

settings.apply(STAGES)
