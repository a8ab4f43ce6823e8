"""What goes and what stays, told by stamps alone; test_graph.py prunes a whole data root."""

import json

import pytest

from greenr_luigi.errors import GreenrError
from greenr_luigi.operations.prune import prune
from greenr_luigi.operations.usage import usage
from tests import toys
from tests.stamped import finish, made_from
from tests.toys import build, prepare


def names(links):
    return {f"{link.parent.name}/{link.name}" for link in links}


def left(root):
    return names(link for link in root.glob("*/*") if link.is_symlink() and link.name != "current")


def test_the_last_pictures_that_the_web_gave_stay(tmp_path):
    """Of each class; what lies in a folder or is drawn can be had again."""
    for number, source in enumerate(("bing", "urls", "folder", "sample")):
        for key in (10 + number, 20 + number):
            finish(tmp_path, f"DownloadImages({source})", key, parameters={"source": source})
    removed = {row["place"].removeprefix("DownloadImages/") for row in prune(tmp_path, 0)}
    assert removed == {"10", "11", "12", "22", "13", "23"}
    assert left(tmp_path) == {"DownloadImages/20", "DownloadImages/21"}


def test_what_serves_is_live_with_all_that_it_was_made_from(tmp_path):
    release = "0123456789abcdef"
    (tmp_path / "releases" / release).mkdir(parents=True)
    (tmp_path / "releases" / "current").symlink_to(release)
    split = finish(tmp_path, "SplitDataset", 1)
    # Of a stage that `tasks` knows nothing of.
    augmented = finish(tmp_path, "AugmentDataset", 2, inputs=made_from(split))
    model = finish(tmp_path, "TrainModel", 3, inputs=made_from(augmented))
    deployment = finish(tmp_path, "DeployApp", 4, inputs=made_from(model))
    (deployment / "deployment.json").write_text(json.dumps({"release": release, "address": "http://x/"}))
    taken = finish(tmp_path, "SplitDataset", 5, digest="SplitDataset 1")  # The same, under other parameters.
    live = [split, taken, augmented, model, deployment]
    newer = [finish(tmp_path, title, 9) for title in ("SplitDataset", "AugmentDataset", "TrainModel")]
    refused = finish(tmp_path, "DeployApp", 8)
    (refused / "deployment.json").write_text(json.dumps({"release": "f" * 16, "address": "http://x/"}))
    assert {row["place"] for row in usage(tmp_path) if row["live"]} == names(live)
    assert {row["place"] for row in prune(tmp_path, 0, dry_run=True)} == names([*newer, refused])
    assert left(tmp_path) == names([*live, *newer, refused])
    prune(tmp_path, 0)
    assert left(tmp_path) == names(live)


def test_fewer_than_none_cannot_be_kept(tmp_path):
    with pytest.raises(GreenrError, match="--keep -1: expected 0 or more"):
        prune(tmp_path, -1)


def test_what_a_killed_run_left_behind_a_complete_stage_goes(tmp_path):
    root = prepare(tmp_path)
    build(root)
    output = toys.Merge(root=root).output_folder
    leftover = output.parent / f".{output.name}.0ld"
    leftover.mkdir()
    (leftover / "text").write_text("before")
    assert build(root) == []
    prune(root, 9, dry_run=True)
    assert leftover.exists()
    assert prune(root, 9) == []
    assert not leftover.exists()
    assert build(root) == []
