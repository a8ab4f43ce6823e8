import dataclasses
from pathlib import Path

from greenr_luigi import contracts
from greenr_luigi.evaluation.metrics import Confusion, Metrics, confusions
from tests.tiny_release import METRICS


def test_a_confusion_matrix_is_read_as_it_was_written_and_as_older_files_have_it(tmp_path: Path) -> None:
    assert METRICS.matrix == [[9, 1, 0], [0, 10, 0], [2, 0, 8]]
    older = dataclasses.replace(METRICS, confusion=[*METRICS.matrix])
    for metrics in (METRICS, older):
        contracts.write(tmp_path / "metrics.json", metrics)
        read = contracts.read(tmp_path / "metrics.json", Metrics)
        assert read == metrics == contracts.read_tolerant(tmp_path / "metrics.json", Metrics, "")
        assert (read.taken_for, read.matrix) == (METRICS.confusion, METRICS.matrix)
        first, second, third = METRICS.classes
        assert confusions(read, METRICS.classes) == [
            Confusion(third, first, 2, 10),
            Confusion(first, second, 1, 10),
        ]
