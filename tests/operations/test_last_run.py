"""What the last run judged, and the line that runs it again: found by role, whatever the stages are called."""

import shutil
import sys
from types import ModuleType

import luigi
import pytest

import tasks
from greenr_luigi.operations.last_run import (
    command_to_run_again,
    dataset_and_evaluation,
    options,
    places,
    state,
)
from greenr_luigi.review.catalogue import Places
from greenr_luigi.stage import PipelineStage
from greenr_luigi.staleness.stamp import Stamp
from tests.stamped import finish, made_from


def test_the_line_to_run_again_holds_what_is_not_configured_and_no_more(tmp_path):
    configured = {name: p.task_value("DeployApp", name) for name, p in tasks.DeployApp.get_params()}
    assert not configured["source"] and configured["host"]
    plain = f"luigi --module tasks DeployApp --local-scheduler --root {tmp_path}"
    assert command_to_run_again(tmp_path) == plain
    parameters = {
        "source": "openverse,commons,bing",
        "host": "",
        "query": "a b",
        "epochs": str(configured["epochs"]),
        "port": "9",
    }
    finish(tmp_path, "DeployApp", 1, parameters=parameters)
    assert command_to_run_again(tmp_path) == f"{plain} --host '' --query 'a b' --port 9"


def test_what_the_folder_told_is_as_good_as_said(tmp_path):
    """It may tell otherwise by now. What is the default without one need not be said."""
    mine, root = tmp_path / "mine", tmp_path / "data"
    for label in ("a", "b", "c"):
        (mine / label).mkdir(parents=True)
        (mine / label / "1.jpg").touch()
    parameters = {"source": "folder", "classes": "a,b", "folder": str(mine)}
    finish(root, "DeployApp", 1, parameters=parameters)
    assert options(root) == [f"--{name}={value}" for name, value in parameters.items()]
    finish(
        root, "DeployApp", 2, parameters={"source": "openverse,commons,bing", "classes": "dandelion,grass"}
    )
    assert options(root) == []


def test_a_folder_in_luigi_cfg_is_asked_now(tmp_path, monkeypatch):
    mine = tmp_path / "mine"
    for label in ("a", "b", "c"):
        (mine / label).mkdir(parents=True)
        (mine / label / "1.jpg").touch()
    finish(tmp_path, "DeployApp", 1, parameters={"source": "folder", "classes": "a,b", "folder": str(mine)})
    monkeypatch.setitem(luigi.configuration.get_config()["DeployApp"], "folder", str(mine))
    assert options(tmp_path) == []


def test_a_torn_stamp_does_not_keep_others_from_being_seen(tmp_path):
    finish(tmp_path, "DeployApp", 1, parameters={"port": "99"})
    torn = finish(tmp_path, "EvaluateModel", 2)
    (torn.parent / "3").symlink_to("gone")
    for text in ("", "{", "{}", "[]", "null"):
        (torn / "stamp.json").write_text(text)
        assert "--port 99" in command_to_run_again(tmp_path)
        assert dataset_and_evaluation(tmp_path) is None


def test_the_newest_evaluation_and_the_data_set_that_it_judged(tmp_path):
    split = finish(tmp_path, "SplitDataset", 1)
    evaluation = finish(tmp_path, "EvaluateModel", 2, inputs=made_from(split))
    finish(tmp_path, "SplitDataset", 3)
    finish(tmp_path, "EvaluateModel", 4, inputs={"SplitDataset": {"digest": "pruned", "summary": {}}})
    assert dataset_and_evaluation(tmp_path) == (split, evaluation)


@pytest.mark.parametrize("note", ["a" * 64, "b" * 64])
def test_the_data_set_is_known_whatever_its_notes_have_become(tmp_path, note):
    """The evaluation has not read them, and so was not made anew."""
    files = {"labels.csv": (1, 1, "c" * 64), "manifest.csv": (1, 1, note)}
    split = finish(tmp_path, "SplitDataset", 1, files=files)
    earlier = finish(tmp_path, "SplitDataset", 2, files=files | {"manifest.csv": (1, 1, "a" * 64)})
    seen = {"SplitDataset": Stamp.read(earlier).as_input(["manifest.csv"])}
    evaluation = finish(tmp_path, "EvaluateModel", 3, inputs=seen)
    shutil.rmtree(earlier.resolve())
    assert dataset_and_evaluation(tmp_path) == (split, evaluation)


class AugmentDataset(PipelineStage):
    role = "dataset"


class PackForPhones(PipelineStage):
    port = luigi.Parameter(default="1", description="Of nothing.")


@pytest.fixture
def longer(monkeypatch):
    """A module with a stage between two others, and one after the last."""
    module = ModuleType("longer")
    download, shard, split, *others = tasks.STAGES
    module.STAGES = (download, shard, split, AugmentDataset, *others, PackForPhones)
    monkeypatch.setitem(sys.modules, "longer", module)
    return "longer"


def test_a_stage_between_two_others_and_one_after_the_last(tmp_path, longer):
    split = finish(tmp_path, "SplitDataset", 1)
    augmented = finish(tmp_path, "AugmentDataset", 2, inputs=made_from(split))
    model = finish(tmp_path, "TrainModel", 3, inputs=made_from(augmented))
    evaluation = finish(tmp_path, "EvaluateModel", 4, inputs=made_from(model))
    deployment = finish(tmp_path, "DeployApp", 5, inputs=made_from(evaluation), parameters={"port": "99"})
    finish(tmp_path, "PackForPhones", 6, inputs=made_from(deployment), parameters={"port": "7"})
    assert dataset_and_evaluation(tmp_path, longer) == (augmented, evaluation)
    again = command_to_run_again(tmp_path, longer)
    assert again == f"luigi --module longer DeployApp --local-scheduler --root {tmp_path} --port 99"


def collected(root, label, number):
    return finish(root, f"DownloadImages({label})", number, f"{label}-", parameters={"label": label})


def test_pictures_to_look_through_are_those_of_the_newest_data_set_and_what_came_since(tmp_path):
    assert places(tmp_path) == Places()
    collected(tmp_path, "birch", 1)  # Of other classes, long ago.
    grass = collected(tmp_path, "grass", 2)
    assert set(places(tmp_path).pictures) == {"birch", "grass"} and places(tmp_path).dataset is None
    split = finish(tmp_path, "SplitDataset", 3, inputs=made_from(grass))
    assert places(tmp_path) == Places({"grass": grass}, split)
    before = state(tmp_path)
    newer, daisy = collected(tmp_path, "grass", 4), collected(tmp_path, "daisy", 5)
    evaluation = finish(tmp_path, "EvaluateModel", 6)
    assert places(tmp_path) == Places({"grass": newer, "daisy": daisy}, split, evaluation)
    assert state(tmp_path) > before


def test_an_output_that_is_made_anew_is_noticed(tmp_path):
    output = collected(tmp_path, "grass", 1)
    before = state(tmp_path)
    assert before == state(tmp_path) != frozenset()
    target = output.readlink()
    again = output.with_name(f".{output.name}.0123abcd")
    (output.parent / target).rename(again)
    output.unlink()
    output.symlink_to(again.name)
    assert state(tmp_path) != before
