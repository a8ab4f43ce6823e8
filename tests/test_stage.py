"""What the pipeline's stages have beyond staleness: roles, the command line, words of their own."""

import ast
import inspect
import shlex
import textwrap

import luigi
import pytest

import tasks
from greenr_luigi.errors import GreenrError
from greenr_luigi.operations import status
from greenr_luigi.stage import PipelineStage
from greenr_luigi.staleness import requirements, stage
from tests.sources.conftest import picture


class Text(PipelineStage):
    words = luigi.Parameter(default="", description="What to write.")
    role = "dataset"

    def work(self, out):
        (out / "text").write_text(self.words)


class Paragraph(PipelineStage):
    words = Text.words
    number = luigi.IntParameter(default=1, description="How many texts to read.")

    def requires(self):
        return [self.clone(Text, words=f"{self.words}{n}") for n in range(self.number)]


def test_an_input_is_asked_for_by_its_role(tmp_path):
    paragraph = Paragraph(root=tmp_path, words="x")
    assert paragraph.input_folder("dataset") == Text(root=tmp_path, words="x0").output_folder
    with pytest.raises(LookupError, match="Paragraph requires 0 stages of the role model: expected 1"):
        paragraph.input_folder("model")


def test_an_input_of_a_role_must_be_one(tmp_path, monkeypatch):
    monkeypatch.setattr(Text, "title", property(lambda self: self.words))
    with pytest.raises(LookupError, match="Paragraph requires 2 stages of the role dataset"):
        Paragraph(root=tmp_path, number=2).input_folder("dataset")


def test_the_command_makes_the_output_again(tmp_path):
    words = shlex.split(Paragraph(root=tmp_path, words="a 'b'").command)
    assert words[:5] == ["luigi", "--module", "tests.test_stage", "Paragraph", "--local-scheduler"]
    assert words[5:] == ["--words", "a 'b'", "--number", "1"]
    assert "--words=-dash" in shlex.split(Text(root=tmp_path, words="-dash").command)
    assert "--words" not in Text(root=tmp_path).command
    assert tasks.DownloadImages(root=tmp_path, label="x").command.startswith(
        "luigi --module tasks DownloadImages "
    )


@pytest.mark.parametrize(
    ("root", "words"),
    [
        ("file", "no folder can be made there: choose another --root"),
        ("full", "`greenr prune` removes outputs"),
    ],
)
def test_errors_are_of_the_project_and_in_its_words(tmp_path, monkeypatch, root, words):
    (tmp_path / "file").write_text("")

    def fail(self, out):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Text, "work", fail)
    with pytest.raises(GreenrError, match=words):
        Text(root=tmp_path / root).run()


TAKING = [stage.__name__ for stage in tasks.STAGES if stage.uses_inherited is not None]


@pytest.mark.parametrize("name", TAKING)
def test_a_stage_declares_which_inherited_parameters_it_uses(tmp_path, name):
    """What it does not declare counts by the outputs of the stages before it alone."""
    task = status.build(name, ["--min-side", "16"], tmp_path)  # Which is none where it is 32.
    shared = {parameter for required in task.inputs().values() for parameter in required.parameters}
    methods = ast.parse(textwrap.dedent(inspect.getsource(type(task)))).body[0].body
    used = {
        node.attr
        for method in methods
        if isinstance(method, ast.FunctionDef) and method.name not in ("requires", "__init__")
        for node in ast.walk(method)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"
    }
    assert used & shared & task.parameters.keys() == {*task.uses_inherited}


def test_a_stage_with_effects_outside_its_folder_takes_no_output():
    assert not {"DownloadImages", "DeployApp"} & {*TAKING} and "TrainModel" in TAKING


@pytest.mark.slow
def test_what_a_picture_is_called_and_what_lies_beside_it_trains_nothing_again(tmp_path):
    folder, root = tmp_path / "mine", tmp_path / "data"
    for label in ("dandelion", "grass"):
        (folder / label).mkdir(parents=True)
        for number in range(12):
            (folder / label / f"{number}.png").write_bytes(picture(20 * (label == "grass") + number))
    options = ["--classes", "dandelion,grass", "--source", "folder", "--folder", str(folder)]
    training = status.build("TrainModel", options, root)
    (split,) = training.inputs().values()

    def seen():
        """What training depends on, what the report does, and the side of each picture."""
        stage.forget()
        assert luigi.build([split], local_scheduler=True, log_level="WARNING")
        labels = (split.output_folder / "labels.csv").read_bytes()
        return requirements.as_input(training, split, split.stamp())["digest"], split.stamp().digest, labels

    digest, whole, labels = seen()
    grass = folder / "grass"
    for change in (
        lambda: (grass / "3.png").rename(grass / "zebra.png"),
        lambda: (grass / "notes.txt").write_text("bought in Kiel"),
        lambda: (grass / "again.png").write_bytes((grass / "4.png").read_bytes()),
    ):
        change()
        before, (now, whole, same) = whole, seen()
        assert now == digest and whole != before and same == labels
    (grass / "5.png").write_bytes(picture(90))
    assert seen()[0] != digest
