"""Files that come, go and change while they are looked at."""

import os

from greenr_luigi.staleness import traces
from tests import toys
from tests.toys import build


def test_a_file_that_vanishes_while_it_is_looked_at_is_not_there(root, monkeypatch):
    (root / "inputs" / "c").write_text("cleo")
    before = traces.snapshot(root / "inputs")
    walked = list(traces.walk(root / "inputs"))
    (root / "inputs" / "c").unlink()
    monkeypatch.setattr(traces, "walk", lambda path: iter(walked))
    assert traces.snapshot(root / "inputs").keys() == {"a", "b"}
    before["c"] = before["c"]._replace(mtime_ns=0)
    assert traces.files_changed("inputs", before, root / "inputs") == "inputs file c was edited"


def test_touched_but_not_changed(root):
    build(root)
    os.utime(root / "inputs" / "a", (1, 1))
    os.utime(toys.Merge(root=root).output_folder / "text", (1, 1))
    assert build(root) == []
