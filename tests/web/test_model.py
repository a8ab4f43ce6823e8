"""Which of a release's files a worker answers from."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from greenr_luigi.contracts import ContractError
from greenr_luigi.pictures import colour, door
from greenr_luigi.serving import publishing, releases, rollout
from greenr_luigi.web import model
from tests import tiny_release


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A release whose version in integers takes everything for the class after the one it is."""
    tiny_release.export(tmp_path / "export")
    turned = tiny_release.model(tiny_release.WEIGHTS[[2, 0, 1]])
    (tmp_path / "export" / "model.int8.onnx").write_bytes(turned)
    rollout.point(tmp_path / "store", publishing.publish(tmp_path / "store", (tmp_path / "export").iterdir()))
    return tmp_path / "store"


@pytest.mark.parametrize(
    ("fast", "wanted", "precision", "label"),
    [
        (True, True, "int8", "grass"),
        (False, True, "float32", "dandelion"),
        (True, False, "float32", "dandelion"),
    ],
)
def test_integers_where_the_processor_is_fast_with_them_and_nobody_minds(
    store: Path, monkeypatch: pytest.MonkeyPatch, fast: bool, wanted: bool, precision: str, label: str
) -> None:
    monkeypatch.setattr(model, "fast_integers", lambda: fast)
    loaded = model.load(store, rollout.current(store) or "", wanted)
    assert loaded.precision == precision
    assert loaded.answer(tiny_release.picture("yellow")).label == label


def test_a_damaged_version_in_integers_is_refused_and_not_passed_over(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "fast_integers", lambda: True)
    digest = rollout.current(store) or ""
    (store / digest / "model.int8.onnx").unlink()
    with pytest.raises(releases.ReleaseError, match=r"model\.int8\.onnx is missing"):
        model.load(store, digest)
    assert model.load(store, digest, int8=False).precision == "float32"


def test_what_is_strange_gets_no_answer_however_probable(tmp_path: Path) -> None:
    loaded = model.load(tmp_path, tiny_release.deploy(tmp_path))
    strange = loaded.answer(tiny_release.picture(tiny_release.STRANGE))
    assert strange.label == "dandelion" and strange.probabilities["dandelion"] > loaded.card.threshold
    assert not strange.familiar and not strange.sure
    known = loaded.answer(tiny_release.picture("yellow"))
    assert known.familiar and known.sure


def test_a_release_of_before_there_was_familiarity_answers_as_it_did(tmp_path: Path) -> None:
    loaded = model.load(tmp_path, tiny_release.deploy(tmp_path, familiarity=None))
    answer = loaded.answer(tiny_release.picture(tiny_release.STRANGE))
    assert answer.familiar and answer.sure


def test_a_release_that_promises_familiarity_and_does_not_tell_it_is_refused(tmp_path: Path) -> None:
    tiny_release.export(tmp_path / "export")
    made = onnx.load(tmp_path / "export" / "model.onnx")
    made.graph.output.pop()
    onnx.save(made, tmp_path / "export" / "model.onnx")
    with pytest.raises(model.ModelError, match="familiarity"):
        model.load(
            tmp_path / "store", publishing.publish(tmp_path / "store", (tmp_path / "export").iterdir())
        )


def test_what_the_processor_says(monkeypatch: pytest.MonkeyPatch) -> None:
    for flags, fast in (
        ("flags: sse4_2 avx512_vnni", True),
        ("flags: avx_vnni", True),
        ("flags: avx2", False),
    ):
        monkeypatch.setattr(Path, "read_text", lambda *_, flags=flags, **__: flags)
        assert model.fast_integers() is fast

    def absent(*_: object, **__: object) -> str:
        raise FileNotFoundError("/proc/cpuinfo")

    monkeypatch.setattr(Path, "read_text", absent)
    assert model.fast_integers() is False


@pytest.mark.parametrize("side", [(40, 50), (900, 700), (1400, 900)])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_picture_that_is_shown_is_the_same_to_the_model(
    tmp_path: Path, side: tuple[int, int], kind: str
) -> None:
    """Its pixels are training's, and the small copy is all of it."""
    loaded = model.load(tmp_path, tiny_release.deploy(tmp_path))
    pixels = np.random.default_rng(0).integers(0, 256, (side[1], side[0], 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, quality=90, method=0)
    data, asked, run = buffer.getvalue(), [], loaded.session.run

    class Session:
        def run(self, names: list[str], inputs: dict[str, np.ndarray]) -> object:
            asked.append(inputs["pixels"][0])
            return run(names, inputs)

    watched = replace(loaded, session=Session())
    plain, shown = watched.answer(data), watched.answer(data, heat=True, picture=True)
    trained = door.square(door.open_picture(data, at_least=tiny_release.SIZE), tiny_release.SIZE)
    assert all(np.array_equal(one, trained) for one in asked) and len(asked) == 2
    assert replace(shown, heat=plain.heat, picture=plain.picture) == plain
    assert isinstance(shown.picture, str)
    small = Image.open(io.BytesIO(base64.b64decode(shown.picture.partition(",")[2])))
    assert min(small.size) >= tiny_release.SIZE and max(small.size) <= model.SHOWN
    assert small.width / small.height == pytest.approx(side[0] / side[1], rel=0.05)


@pytest.mark.parametrize(
    "content",
    ['{"format": 1, "classes": ["a"', '{"format": 2}', '{"format": 1, "classes": ["a"]}', "[]", "[" * 99_999],
)
def test_a_torn_model_card_is_one_clear_message(tmp_path: Path, content: str) -> None:
    exported = tiny_release.export(tmp_path / "export")
    (exported / "model.json").write_text(content)
    digest = publishing.publish(tmp_path / "store", exported.iterdir())
    with pytest.raises(
        ContractError, match=r"model\.json cannot be read as ModelCard .*export the model again"
    ):
        model.load(tmp_path / "store", digest)


def test_a_release_is_served_with_the_pixels_that_it_knows(tmp_path: Path) -> None:
    """Dark by its values, and by its profile no longer strange to the model."""
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), (45, 35, 0)).save(buffer, "PNG", icc_profile=colour.profile(1))
    for door_, familiar in ((None, False), (1, False), (2, True)):
        digest = tiny_release.deploy(tmp_path / str(door_) / "store", **({"door": door_} if door_ else {}))
        answer = model.load(tmp_path / str(door_) / "store", digest).answer(buffer.getvalue())
        assert answer.familiar is familiar
    with pytest.raises(ContractError, match="door 99; this program has 1 and 2: run DeployApp"):
        model.load(tmp_path / "99" / "store", tiny_release.deploy(tmp_path / "99" / "store", door=99))
