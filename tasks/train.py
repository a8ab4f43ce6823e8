"""TrainModel: a fastai model of the split data set."""

from collections.abc import Mapping
from pathlib import Path

import luigi
from luigi.util import requires

from greenr_luigi.parameters import ChoiceParameter, NumberParameter
from greenr_luigi.stage import PipelineStage
from greenr_luigi.training.recipes import ALL, RECIPES
from tasks.split import SplitDataset


@requires(SplitDataset)
class TrainModel(PipelineStage):
    role = "model"
    #: SplitDataset's.
    seed: int

    arch = luigi.Parameter(description="Any timm or torchvision architecture.")
    epochs = NumberParameter(int, 1, description="Passes over the training pictures.")
    recipe = ChoiceParameter([*RECIPES], "; ".join(f"{recipe.name}: {recipe.words}" for recipe in ALL) + ".")
    minutes = NumberParameter(
        float,
        0,
        525600,
        description="For which a network may be trained on, or other recipes tried, after the head; 0: "
        + ", ".join(f"{recipe.minutes:g} for {recipe.name}" for recipe in ALL if recipe.minutes)
        + ".",
    )
    image_size = NumberParameter(
        int, 16, 2048, description="Side in pixels of the square that the model sees."
    )

    # How it is trained, as the number of threads is: a model of more processes is as good as another
    # (docs/benchmarks-appendix.md). So a run on a larger machine trains nothing anew.
    processes = NumberParameter(
        int, 1, significant=False, description="Processes that train together on this host, by torchrun."
    )
    torchrun = luigi.Parameter(
        significant=False, description="torchrun's options by which they and those of other hosts meet."
    )

    uses_inherited = ("seed",)
    uses_notes = ()
    # Not what starts processes: that decides how a model is made, not which.
    code = ("greenr_luigi.training.train",)
    # What torch exports with: features come from the body as ONNX.
    libraries = ("onnxscript",)

    def work(self, out: Path) -> Mapping[str, object]:
        from greenr_luigi.training.launch import train
        from greenr_luigi.training.train import Hyperparameters

        how = Hyperparameters(self.arch, self.epochs, self.seed, self.image_size, self.recipe, self.minutes)
        training = train(
            self.input_folder("dataset"),
            out,
            how,
            processes=self.processes,
            torchrun=self.torchrun,
            root=Path(self.root),
            on_progress=self.on_progress(),
        )
        judged = "cross-validated" if RECIPES[training.recipe].cross_validates else "validation"
        error = {f"{judged} error": round(training.history[-1].error_rate, 4)}
        return {"recipe": training.recipe, **error} if training.tried else error
