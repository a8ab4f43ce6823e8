"""What is written of predictions is read again, whatever the classes are called."""

from pathlib import Path

import numpy as np
import pytest

from greenr_luigi.contracts import ContractError
from greenr_luigi.evaluation.predictions import (
    Prediction,
    Predictions,
    read_predictions,
    read_rows,
    write_predictions,
)

CLASSES = ["=1+1", "it's, so", "moss"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    rows = [
        Prediction(f"test/{label}/{k}.jpg", label, "test", "moss", 0.5) for k, label in enumerate(CLASSES)
    ]
    write_predictions(tmp_path / "p.csv", Predictions(CLASSES, rows, np.arange(9.0).reshape(3, 3) - 4))
    return tmp_path / "p.csv"


def test_what_is_written_is_read_again(file: Path) -> None:
    found = read_predictions(file)
    assert found.classes == CLASSES and [row.label for row in found.rows] == CLASSES
    assert found.rows[0].familiarity == 0.5 and found.logits.tolist() == [[-4, -3, -2], [-1, 0, 1], [2, 3, 4]]
    assert read_rows(file) == found.rows


@pytest.mark.parametrize(
    ("old", "new"), [("moss,0.5,2,3,4", "moss,0.5,2,3"), (",2,3,4", ",2,3,x"), ("file,", "fil,")]
)
def test_one_that_lacks_a_cell_or_a_column_is_one_clear_error(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    with pytest.raises(ContractError, match="evaluate the model again"):
        read_predictions(file)


def test_an_empty_one_holds_nothing(file: Path) -> None:
    file.write_text("")
    found = read_predictions(file)
    assert (found.classes, found.rows, found.logits.shape) == ([], [], (0, 0))
