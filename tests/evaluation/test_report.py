import csv
import dataclasses
import html
import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from greenr_luigi import cli, contracts
from greenr_luigi.dataset import curation, pixels
from greenr_luigi.dataset.rows import SplitNote, read_note
from greenr_luigi.evaluation import evaluate, label_issues, report
from greenr_luigi.evaluation.comparison import Verdict, compare, score
from greenr_luigi.evaluation.evaluate import class_metrics
from greenr_luigi.evaluation.metrics import Metrics
from greenr_luigi.operations import last_run
from greenr_luigi.training import train
from tests import walk
from tests.progress import quiet

pytestmark = pytest.mark.slow


def test_a_page_of_its_own_that_tells_the_main_things():
    page = (walk.walk().evaluation / "report.html").read_text()
    assert (
        re.findall(r"""(?:src|href)=["'](?!data:)""", page) == []
        and "url(" not in page
        and "<script" not in page
    )
    for part in ("confusion", "mistakes", "classes", "reliability", "curves"):
        assert f'id="{part}"' in page
    assert "disc or three?" in page and "accuracy on 6 test pictures" in page and "luigi X" in page
    assert str(walk.walk().dataset) not in page


def test_it_says_which_error_is_which():
    page = html.unescape(re.sub(r"<[^>]+>", "", (walk.walk().evaluation / "report.html").read_text()))
    assert "each of the 18 other pictures is judged by a model that has not learned from it" in page
    assert "Take this interval for too narrow: where it was measured," in page
    assert (
        "error in cross-validation of 18 pictures" in page
        and "true error rate by the test, 95\xa0% interval: " in page
    )
    assert (
        "which was fitted in cross-validation" in page and "over the 5 folds of the cross-validation" in page
    )
    assert "12 training + 6 validation + 6 test pictures" in page


def test_the_verdict_stands_at_the_top(tmp_path):
    folders = walk.walk()
    for accepted, word in ((True, "Released"), (False, "Not released")):
        verdict = Verdict(accepted, "6 right instead of 5", score(np.array([True])), 0.0, None, False)
        report.write_report(
            tmp_path / "r.html", folders.dataset, folders.model, folders.evaluation, verdict=verdict
        )
        assert f"<b>{word}.</b> 6 right instead of 5" in (tmp_path / "r.html").read_text()


def test_of_one_epoch_nothing_is_drawn(tmp_path):
    folders = walk.walk()
    shutil.copytree(folders.model, tmp_path / "model")
    training = json.loads((folders.model / "training.json").read_text())
    for epochs, drawn in ((2, True), (1, False)):
        training["history"] = (training["history"] * 2)[:epochs]
        contracts.write(tmp_path / "model" / "training.json", training)
        report.write_report(tmp_path / "r.html", folders.dataset, tmp_path / "model", folders.evaluation)
        page = (tmp_path / "r.html").read_text()
        assert ("<polyline" in page, "After the last epoch" in page) == (drawn, drawn)
        assert ("After the only epoch:" in page) != drawn


def test_names_are_escaped(tmp_path):
    folders = walk.walk()
    for name in ("model", "evaluation"):
        shutil.copytree(getattr(folders, name), tmp_path / name)
    metrics = json.loads((folders.evaluation / "metrics.json").read_text())
    evil = "<img src=x onerror=alert(1)>"
    metrics = json.loads(json.dumps(metrics).replace('"disc"', json.dumps(evil)))
    contracts.write(tmp_path / "evaluation" / "metrics.json", metrics)
    report.write_report(tmp_path / "r.html", folders.dataset, folders.model, tmp_path / "evaluation")
    page = (tmp_path / "r.html").read_text()
    assert evil not in page and "&lt;img src=x" in page


def test_many_classes_list_their_confusions(tmp_path):
    labels = tuple("abcdefghijklmnopq"[: i + 1] for i in range(14))
    dataset = walk.drawn(tmp_path / "d", labels, each=4)
    for name in "me":
        (tmp_path / name).mkdir()
    how = train.Hyperparameters("tf_efficientnet_lite0", epochs=2, seed=1, image_size=walk.SIZE)
    train.train(dataset, tmp_path / "m", how, on_progress=quiet)
    evaluate.evaluate(dataset, tmp_path / "m", tmp_path / "e", on_progress=quiet)
    page = (tmp_path / "e" / "report.html").read_text()
    assert "14 classes" in page and "the model says" in page and 'class="matrix"' not in page


def test_of_a_hundred_classes_those_recognised_worst_are_listed_first(tmp_path):
    folders, classes = walk.walk(), [f"kind {k:03}" for k in range(100)]
    shutil.copytree(folders.evaluation, tmp_path / "e")
    metrics = contracts.read(folders.evaluation / "metrics.json", Metrics)
    confusion = np.eye(100, dtype=int) * 2
    confusion[42] = 0
    confusion[42, 7] = 2
    counts = {side: dict.fromkeys(classes, 2) for side in ("train", "valid", "test")}
    per_class = class_metrics(classes, confusion)
    data = dataclasses.replace(metrics.data, counts=counts)
    crossed = dataclasses.replace(metrics.cross_validation, pictures=1277)
    more = {"classes": classes, "confusion": confusion.tolist(), "per_class": per_class, "data": data}
    more["cross_validation"] = crossed
    contracts.write(tmp_path / "e" / "metrics.json", dataclasses.replace(metrics, **more))
    report.write_report(tmp_path / "r.html", folders.dataset, folders.model, tmp_path / "e")
    page = (tmp_path / "r.html").read_text()
    assert page.count("1,277 ") == 2 and "1277" not in page and "<h2>Confusions</h2>" in page
    confused, listed = page.partition('id="confusion"')[2].partition('id="classes"')[::2]
    assert re.search(r"kind 042</th><td class=.text.>kind 007</td><td>2</td><td>2<", confused)
    first, _, all_of_them = listed.partition("<details><summary>All 100 classes</summary>")
    assert re.findall(r'row">(kind \d+)', first)[:2] == ["kind 042", "kind 007"] and "kind 099" not in first
    assert re.findall(r'row">(kind \d+)', all_of_them) == classes


def test_the_comparison_shows_what_changed_with_label_and_answer(tmp_path):
    folders = walk.walk()
    shutil.copytree(folders.evaluation, tmp_path / "e")
    path = tmp_path / "e" / "predictions.csv"
    table = list(csv.reader(path.read_text().splitlines()))
    files = [row.file for row in pixels.read_rows(folders.dataset, "test")]
    for line in table[1:]:
        line[3] = {"disc": "three", "three": "disc"}[line[1]] if line[0] in files[:2] else line[1]
    path.write_text("".join(",".join(line) + "\n" for line in table))
    serving, candidate = np.array([True, True, False]), np.array([False, False, True])
    compared = compare(files[:3], candidate, serving)
    verdict = Verdict(False, "worse", compared.candidate, 0.0, compared, False)
    warned = {"verdict": verdict, "warnings": ["DownloadImages(<b>): bing brought nothing"]}
    report.write_report(tmp_path / "r.html", folders.dataset, folders.model, tmp_path / "e", **warned)
    page = (tmp_path / "r.html").read_text()
    assert "<b>Warning.</b> DownloadImages(&lt;b&gt;): bing brought nothing" in page
    assert page.count('alt="Newly wrong: labelled disc, called three"') == 2
    assert page.count('alt="Newly right: labelled disc, called disc"') == 1
    answer = 'labelled <b>disc</b><br>it says <span class="said">three</span>'
    assert page.count(f"{answer}<br>") == 2 and page.count(f"{answer}, ") == 2


LABELS = ["grass", "dry grass", "-dash.v1.2", "--help", "[br*]?", "$(x)", "it's", "ä"]


@pytest.mark.parametrize("label", LABELS)
def test_commands_may_be_pasted_whatever_a_label_holds(label, monkeypatch, tmp_path):
    """The shell makes of the line the words that were meant, and argparse takes them as they were."""
    told = []
    monkeypatch.setattr(curation, "relabel", lambda root, label, items: told.append((label, items)))
    monkeypatch.setattr(last_run, "command_to_run_again", lambda *_: "")
    page = page_with(
        tmp_path, [label_issues.LabelIssue("train/disc/0123456789abcdef.jpg", "disc", label, 0.1)]
    )
    review, reject, relabel = html.unescape(page.split("<pre>")[1].split("</pre>")[0]).split("\n")
    assert (review, reject) == ("greenr review", "greenr reject 0123456789abcdef")
    (tmp_path / "bx").touch()  # for a pattern to match
    words = subprocess.check_output(["sh", "-c", f"printf '%s\\n' {relabel}"], cwd=tmp_path, text=True)
    assert cli.main(["--root", str(tmp_path), *words.splitlines()[1:]]) == 0
    assert told == [(label, ["0123456789abcdef"])]


def page_with(folder, found):
    """The report of the walk with other label issues, whose pictures need not lie anywhere."""
    folders = walk.walk()
    shutil.copytree(folders.evaluation, folder / "e")
    shutil.copytree(folders.dataset, folder / "d", dirs_exist_ok=True)
    some = next((folders.dataset / "train" / "disc").iterdir())
    for one in found:
        (folder / "d" / one.file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(some, folder / "d" / one.file)
    label_issues.write_label_issues(folder / "e", found)
    report.write_report(folder / "r.html", folder / "d", folders.model, folder / "e")
    return (folder / "r.html").read_text()


def test_a_label_issue_is_a_disagreement_and_no_verdict(tmp_path):
    sides = ["train"] * 28 + ["test"] * 2
    found = [
        label_issues.LabelIssue(f"{side}/disc/{n:016x}.jpg", "disc", "three", 0.1)
        for n, side in enumerate(sides)
    ]
    (tmp_path / "train").mkdir()
    page = page_with(tmp_path / "train", found[:28])
    assert "disagrees with the label of 28 pictures" in page and "well be" not in page
    assert "lists all.\nThe label may be right" in page and "none of the classes" in page
    assert "held out to measure" not in page and ">test picture<" not in page
    (tmp_path / "test").mkdir()
    page = page_with(tmp_path / "test", found[::-1])
    assert "2 of them are test pictures, held out to measure" in page and page.count(">test picture<") == 2


def test_the_page_tells_what_was_refused_and_why(tmp_path):
    assert 'id="left-out"' not in (walk.walk().evaluation / "report.html").read_text()
    (tmp_path / "d").mkdir()
    kinds = [
        {
            "label": "disc",
            "reason": "too-large",
            "count": 1,
            "examples": [{"name": "disc/v.jpg", "message": "it has"}],
        },
        {
            "label": "three",
            "reason": "interrupted",
            "count": 1,
            "examples": [{"name": "", "message": "no answer"}],
        },
        {
            "label": "three",
            "reason": "format",
            "count": 30,
            "examples": [{"name": "<b>.txt", "message": "no picture"}],
        },
        *({"label": "three", "reason": f"http-{n}", "count": 1, "examples": []} for n in range(400, 430)),
    ]
    contracts.write(tmp_path / "d" / "refused.json", kinds)
    page = page_with(tmp_path, [])
    part = re.sub(r"\s+", " ", re.sub("<[^>]*>", "", page.split('id="left-out"')[1].split("</section>")[0]))
    assert "62 were offered and refused" in part and "And 9 more" in part
    first = ["three: 30 format: &lt;b&gt;.txt, no picture; …", "disc: 1 too-large: disc/v.jpg, it has"]
    assert " ".join([*first, "three: 1 interrupted: no answer"]) in part


def test_no_per_cent_sign_stands_alone_and_wide_tables_can_be_reached():
    page = (walk.walk().evaluation / "report.html").read_text()
    body = page.split("</style>")[1]
    assert re.findall(r"\d %", body) == [] and re.search("\\d\N{NO-BREAK SPACE}%", body)
    tables = re.findall(r"<div class=\"scroll\"([^>]*)><table", body)
    assert len(tables) == body.count("<table") == 2
    assert all('tabindex="0"' in t and 'role="region"' in t and "aria-label=" in t for t in tables)
    assert "<th>" not in body


def test_the_page_tells_what_was_asked_of_the_pictures():
    line = "luigi --module tasks X --source bing --limit 150 --valid-share 0.1 --test-share 0.2 --classes 'a b,c'"
    assert report.options(line) == [
        ("pictures from", "bing"),
        ("asked for a class", "150"),
        ("validation share", "0.1"),
        ("test share", "0.2"),
    ]
    assert dict(report.options("luigi X --limit 0"))["asked for a class"].startswith("all of a folder")
    assert report.options("") == []


@pytest.mark.parametrize(
    ("note", "words"),
    [
        (None, ""),
        (SplitNote({}, {}, {"train": 7, "test": 3}, 0, 0), "The split is ours: a picture’s side follows from its look "
         "and the seed."),
        (SplitNote({"train": 70, "test": 9}, {"valid": 8}, {"train": 2}, 3, 12), "The split is the one that was given: "
         "70 training, 9 test pictures. Of what was given for training, our rule held out 8 validation pictures. Given "
         "no side, and divided by our rule: 2 training pictures. 12 of the pictures are in 3 groups, each on one "
         "side."),
    ],
)  # fmt: skip
def test_the_page_tells_which_split_it_is(note, words, tmp_path):
    if note:
        contracts.write(tmp_path / "split.json", note)
    assert report.split_words(read_note(tmp_path)) == words


def test_the_page_tells_what_was_understood_of_a_folder(tmp_path):
    assert 'id="folder"' not in (walk.walk().evaluation / "report.html").read_text()
    (tmp_path / "d").mkdir()
    words = "2 classes by the column <b> of a.csv: a 7, b 3"
    contracts.write(tmp_path / "d" / "split.json", SplitNote({}, {}, {"train": 7, "test": 3}, 0, 0, words))
    assert "Understood of the folder: 2 classes by the column &lt;b&gt; of a.csv: a 7, b 3." in page_with(
        tmp_path, []
    )
