import json
import subprocess
import sys

import pytest

from greenr_luigi import contracts
from greenr_luigi.contracts import ContractError
from greenr_luigi.evaluation.metrics import ClassMetrics, HeldOutCounts
from greenr_luigi.export.model_card import NAME, Quantization, read_card
from tests import tiny_release


def test_a_card_of_an_older_release_reads_and_comes_out_as_it_was(tmp_path):
    tiny_release.export(tmp_path)
    lacking = json.loads((tmp_path / NAME).read_text())
    del lacking["familiarity"], lacking["license"]
    (tmp_path / NAME).write_text(json.dumps(lacking))
    card = read_card(tmp_path)
    assert (card.familiarity, card.int8, card.weights, card.license) == (None, None, None, None)
    contracts.write(tmp_path / NAME, card)
    assert json.loads((tmp_path / NAME).read_text()) == lacking


def test_metrics_are_typed_and_those_of_an_older_release_read(tmp_path):
    tiny_release.export(tmp_path)
    older = json.loads((tmp_path / NAME).read_text())
    del older["metrics"]["familiarity"], older["metrics"]["unfamiliar"]
    older["metrics"]["command"] = "luigi X"  # Of an earlier version, which kept it in the card.
    (tmp_path / NAME).write_text(json.dumps(older))
    card = read_card(tmp_path)
    assert card.metrics.coverage_asked == 0.97 and card.metrics.pictures == HeldOutCounts(30, 30)
    assert (card.metrics.familiarity, card.metrics.unfamiliar) == (-1, 0)
    assert card.metrics.per_class["grass"] == ClassMetrics(0.9, None, 10)
    assert card.data.counts["train"]["grass"] == 80
    for metrics in ({"accuracy": 0.9}, older["metrics"] | {"loss": float("nan")}):
        tiny_release.export(tmp_path, metrics=metrics)
        assert read_card(tmp_path).metrics is None and read_card(tmp_path).data == card.data


@pytest.mark.parametrize("familiarity", ["high", float("nan"), [0.1]])
def test_a_familiarity_that_is_no_number_is_not_taken_for_none(tmp_path, familiarity):
    """Else every picture would get an answer."""
    tiny_release.export(tmp_path, familiarity=familiarity)
    with pytest.raises(
        ContractError, match=r"model.json cannot be .* at `\$.familiarity`\): export the model again"
    ):
        read_card(tmp_path)


@pytest.mark.parametrize("door", ["first", [1], 0.5, 0, 99])
def test_a_door_that_this_program_has_not_is_not_taken_for_another(tmp_path, door):
    """Else the model would see other pixels than it has learned from, and nobody would know."""
    tiny_release.export(tmp_path, door=door)
    with pytest.raises(ContractError, match=r"model\.json"):
        read_card(tmp_path)


def test_a_card_without_a_door_is_of_the_first(tmp_path):
    assert read_card(tiny_release.export(tmp_path)).door_version == 1
    assert read_card(tiny_release.export(tmp_path, door=2)).door_version == 2


def test_what_integers_changed_is_told_without_a_reason(tmp_path):
    for told in (
        Quantization(False, "too few"),
        Quantization(True, None, 300, mean_difference=0.001),
    ):
        contracts.write(tmp_path / "q.json", told)
        assert contracts.read(tmp_path / "q.json", Quantization) == told
        assert None not in json.loads((tmp_path / "q.json").read_text()).values()


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("format", 2, "format"),
        ("classes", ["one"], "length >= 2"),
        ("image_size", 4, ">= 8"),
        ("image_size", 1e4, "int"),
        ("threshold", 1.5, "<= 1"),
        ("threshold", None, "threshold"),
    ],
)
def test_a_card_that_nothing_can_be_answered_with_is_one_clear_error(tmp_path, name, value, fault):
    tiny_release.export(tmp_path, **{name: value})
    with pytest.raises(
        ContractError, match=r"model.json cannot be read as ModelCard.*export the model again"
    ) as error:
        read_card(tmp_path)
    assert fault in str(error.value)


def test_a_torn_card_is_one_clear_error(tmp_path):
    (tmp_path / NAME).write_text('{"format": 1, "cla')
    with pytest.raises(ContractError, match="export the model again"):
        read_card(tmp_path)


def test_cards_are_light():
    code = (
        "import sys, greenr_luigi.export.model_card, greenr_luigi.deployment.provenance\n"
        "assert not {'numpy', 'torch', 'onnx', 'onnxruntime', 'PIL', 'scipy', 'luigi'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
