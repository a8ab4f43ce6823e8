import json
import re
import shutil

from greenr_luigi import evaluation, learner, pixels, report, training
from greenr_luigi.progress import quiet
from tests import walk


def test_a_page_of_its_own_that_tells_the_main_things():
    page = (walk.walk().evaluation / "report.html").read_text()
    assert (
        re.findall(r"""(?:src|href)=["'](?!data:)""", page) == []
        and "url(" not in page
        and "<script" not in page
    )
    for part in ("confusion", "mistakes", "classes", "reliability", "curves"):
        assert f'id="{part}"' in page
    assert "disc or three?" in page and "held-out pictures" in page and "luigi X" in page
    assert str(walk.walk().dataset) not in page


def test_the_verdict_stands_at_the_top(tmp_path):
    folders = walk.walk()
    for accepted, word in ((True, "Released"), (False, "Not released")):
        verdict = {"accepted": accepted, "reason": "6 right instead of 5", "comparison": None}
        report.write(tmp_path / "r.html", folders.dataset, folders.model, folders.evaluation, verdict=verdict)
        assert f"<b>{word}.</b> 6 right instead of 5" in (tmp_path / "r.html").read_text()


def test_names_are_escaped(tmp_path):
    folders = walk.walk()
    for name in ("model", "evaluation"):
        shutil.copytree(getattr(folders, name), tmp_path / name)
    metrics = json.loads((folders.evaluation / "metrics.json").read_text())
    evil = "<img src=x onerror=alert(1)>"
    metrics = json.loads(json.dumps(metrics).replace('"disc"', json.dumps(evil)))
    learner.write_json(tmp_path / "evaluation" / "metrics.json", metrics)
    report.write(tmp_path / "r.html", folders.dataset, folders.model, tmp_path / "evaluation")
    page = (tmp_path / "r.html").read_text()
    assert evil not in page and "&lt;img src=x" in page


def test_many_classes_list_their_confusions(tmp_path):
    labels = tuple("abcdefghijklmnopq"[: i + 1] for i in range(14))
    dataset = walk.drawn(tmp_path / "d", labels, each=4)
    for name in "me":
        (tmp_path / name).mkdir()
    options = {"arch": "tf_efficientnet_lite0", "epochs": 2, "seed": 1, "image_size": walk.SIZE}
    training.train(dataset, tmp_path / "m", on_progress=quiet, **options)
    evaluation.evaluate(dataset, tmp_path / "m", tmp_path / "e", on_progress=quiet)
    page = (tmp_path / "e" / "report.html").read_text()
    assert "14 classes" in page and "the model says" in page and 'class="matrix"' not in page


def test_the_comparison_shows_what_changed(tmp_path):
    folders = walk.walk()
    files = [row.file for row in pixels.rows(folders.dataset, "test")]
    verdict = {"accepted": False, "reason": "worse", "comparison": {"worse": files[:2], "better": files[2:3]}}
    report.write(tmp_path / "r.html", folders.dataset, folders.model, folders.evaluation, verdict=verdict)
    page = (tmp_path / "r.html").read_text()
    assert page.count('alt="Newly wrong"') == 2 and page.count('alt="Newly right"') == 1
