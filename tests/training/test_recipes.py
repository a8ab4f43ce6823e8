import html
import json

import pytest

import tasks
from greenr_luigi.operations.status import build
from greenr_luigi.staleness import code
from greenr_luigi.staleness.requirements import run_order
from tests.pipeline import REPOSITORY, after, copy_of_ready

#: What another engineer writes into recipes.py.
FUNCTION = '''
def fit_untrained(given: Ingredients, on_progress: OnProgress) -> Trained:
    """The head as it was initialized."""
    on_progress(1, "nothing to do")
    return Trained([Epoch(1, 1, 0.5)])


ALL = (
'''
ENTRY = '    Recipe("untrained", "the body & the head as they came", fit_untrained, cross_validates=False),\n'


def test_only_training_imports_what_fits_a_model():
    names = [
        f"greenr_luigi/training/{name}.py"
        for name in ("recipes", "choosing", "train", "heads", "cross_validation", "finetuning")
    ]
    shaped = [
        stage.task_family
        for stage in run_order(build("DeployApp", [], REPOSITORY))
        if set(names) & set(code.sources(stage.code))
    ]
    assert shaped == ["TrainModel"]
    assert set(names) <= set(code.sources(tasks.TrainModel.code))


@pytest.mark.slow
def test_a_recipe_is_one_entry(ready, tmp_path):
    """In a copy of the project: it makes TrainModel alone stale, is trained with, and the report has its words."""
    pipeline = copy_of_ready(ready, tmp_path)
    recipes = pipeline.code / "greenr_luigi" / "training" / "recipes.py"
    text = recipes.read_text()
    assert text.count("\nALL = (\n") == 1
    recipes.write_text(text.replace("\nALL = (\n", FUNCTION + ENTRY))
    causes = pipeline.causes()
    assert causes["TrainModel"] == "code of greenr_luigi/training/recipes.py changed"
    assert all(cause.startswith("input ") for stage, cause in causes.items() if stage in after("TrainModel"))
    run = pipeline.run("--recipe", "untrained", stage="EvaluateModel")
    assert run.status == 0, run.output
    assert list(run.ran) == ["TrainModel", "EvaluateModel"]
    training = json.loads((pipeline.newest_output("TrainModel") / "training.json").read_text())
    assert training["recipe"] == "untrained" and training["history"][-1]["error_rate"] == 0.5
    page = html.unescape((pipeline.newest_output("EvaluateModel") / "report.html").read_text())
    assert "<dd>untrained: the body & the head as they came</dd>" in page
