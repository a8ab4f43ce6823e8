"""What a stamp says, and stamps that are torn."""

import json

import pytest

from greenr_luigi.staleness import numbers
from greenr_luigi.staleness.errors import StampError
from greenr_luigi.staleness.stamp import Stamp, stamps
from tests import toys
from tests.stamped import finish
from tests.toys import build


def test_stamp_tells_what_made_it(root):
    build(root)
    stamp = toys.Count(root=root).stamp()
    assert stamp.parameters == {"glue": "-", "times": "1"}
    assert stamp.summary == {"letters": 1}
    assert stamp.inputs["Merge"]["summary"] == {"letters": 7}
    assert stamp.because == "no output yet"
    assert set(stamp.code) == {"tests/toys.py"}
    assert stamp.finished >= stamp.started


def test_what_is_written_is_read_and_what_a_later_version_says_besides_is_passed_over(root):
    build(root)
    folder = toys.Final(root=root).output_folder
    stamp = Stamp.read(folder)
    stamp.write(folder)
    content = json.loads((folder / "stamp.json").read_text())
    (folder / "stamp.json").write_text(json.dumps(content | {"later": 1}))
    assert Stamp.read(folder) == stamp
    assert stamp.files["text"].size == len((folder / "text").read_text())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "Expecting value"),
        ('{"title": "Fi', "Unterminated string"),
        ("[]", "it is no JSON object"),
        ("{}", "it lacks 'parameters'"),
        ('"\xff"', "'utf-8' codec"),
    ],
)
def test_a_torn_one_is_one_clear_error_and_none_among_others(tmp_path, text, words):
    whole, torn = finish(tmp_path, "Merge", 1), finish(tmp_path, "Merge", 2)
    assert list(stamps(tmp_path / "Merge")) == [torn, whole]
    (torn / "stamp.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(StampError, match=f"its stamp cannot be read .*{words}"):
        Stamp.read(torn)
    assert list(stamps(tmp_path / "Merge")) == [whole]


@pytest.mark.parametrize(
    "wrong",
    [
        {"files": {"text": [3, 4]}},
        {"files": {"text": [1, 2, None]}},
        {"number": None},
        {"number": []},
        {"finished": 1e300},
        {"finished": -1.0},
        {"started": float("nan")},
        {"parameters": {"least": 1}},
        {"inputs": {"Read(a)": {"digest": "5"}}},
        {"code": {"toys.py": {"bytes": None, "syntax": ""}}},
        {"accepted": {}},
        {"title": None},
        {"as_made": {"parameters": {}}},
    ],
    ids=str,
)
def test_one_of_another_form_is_torn(wrong, tmp_path):
    link = finish(tmp_path, "Merge", 1)
    written = json.loads((link / "stamp.json").read_text())
    (link / "stamp.json").write_text(json.dumps(written | wrong))
    with pytest.raises(
        StampError, match=f"its stamp cannot be read .*{next(iter(wrong))} is of no known form"
    ):
        Stamp.read(link)
    assert stamps(tmp_path / "Merge") == {}


def test_one_behind_a_link_that_goes_in_a_circle_is_none(tmp_path):
    link = finish(tmp_path, "Merge", 1)
    link.unlink()
    link.symlink_to(link.name)
    with pytest.raises(StampError, match="a link there leads back to itself"):
        Stamp.read(link)
    assert stamps(tmp_path / "Merge") == {}


def test_a_folder_in_its_place_is_none(tmp_path):
    link = finish(tmp_path, "Merge", 1)
    (link / "stamp.json").unlink()
    (link / "stamp.json").mkdir()
    with pytest.raises(StampError, match=r"its stamp cannot be read .*it is a folder"):
        Stamp.read(link)
    assert stamps(tmp_path / "Merge") == {}
    assert numbers.following(tmp_path) == 1
