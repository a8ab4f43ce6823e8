"""A body's ONNX file is kept where it can be, and made where it cannot."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from torch import nn

from greenr_luigi import inference
from greenr_luigi.dataset import pixels
from greenr_luigi.export import quantization
from greenr_luigi.kept import BODIES, BODY
from greenr_luigi.sources import drawn
from greenr_luigi.training import body_onnx, embedding, features
from greenr_luigi.training.saved_model import Training, Weights
from tests.staleness.test_regular import in_the_place_of

pytestmark = pytest.mark.slow

DIGEST, OTHER = "a" * 16, "b" * 16


def remembered(root: Path | None, made: bytes | None, digest: str = DIGEST) -> bytes:
    """`made` is what making it would give; None where it must be there."""
    return body_onnx.remembered(root, digest, lambda: pytest.fail("made again") if made is None else made)


@pytest.mark.parametrize("data", [b"a network", b""])
def test_it_is_made_once(data, tmp_path):
    """In integers it may be empty: a network that would gain nothing."""
    assert remembered(tmp_path, data) == remembered(tmp_path, None) == data
    (path,) = (tmp_path / BODIES).iterdir()
    assert BODY.fullmatch(path.name)
    assert remembered(tmp_path, b"another", OTHER) == b"another"
    path.write_bytes(data + b"!")
    assert remembered(tmp_path, data) == remembered(tmp_path, None) == data


@pytest.mark.timeout(30)
@pytest.mark.parametrize("kind", ["folder", "pipe", "socket", "device", "circle"])
def test_what_is_no_file_costs_no_run(kind, tmp_path, monkeypatch):
    remembered(tmp_path, b"a network")
    (path,) = (tmp_path / BODIES).iterdir()
    path.unlink()
    monkeypatch.chdir(path.parent)  # The name of a socket may not be long.
    in_the_place_of(Path(path.name), kind)
    assert remembered(tmp_path, b"a network") == b"a network"
    assert [*path.parent.iterdir()] == [path]


@pytest.mark.timeout(30)
@pytest.mark.parametrize("kind", ["folder of another", "file", "pipe", "circle", "device"])
def test_what_is_no_folder_of_ours_costs_no_run(kind, tmp_path):
    folder, theirs = tmp_path / BODIES, tmp_path / "theirs"
    theirs.mkdir()
    if kind == "folder of another":
        folder.symlink_to(theirs)
    elif kind == "file":
        folder.touch()
    else:
        in_the_place_of(folder, kind)
    assert remembered(tmp_path, b"a network") == b"a network"
    assert [*theirs.iterdir()] == []


def test_a_full_disk_costs_no_run(small_disk):
    large = bytes(2**20)
    assert remembered(small_disk, large) == large
    assert [*(small_disk / BODIES).iterdir()] == []
    assert remembered(small_disk, b"a network") == remembered(small_disk, None) == b"a network"


def test_where_nothing_may_be_written_what_is_there_is_taken(small_disk):
    remembered(small_disk, b"a network")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    try:
        assert remembered(small_disk, None) == b"a network"
        assert remembered(small_disk, b"another", OTHER) == b"another"
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)


def test_whatever_shapes_features_gives_them_another_name(monkeypatch):
    """Layers without weights do so, too."""
    training = Training("net", ["a", "b"], 32, [0.5] * 3, [0.5] * 3, "head", 1, 0, Weights("here", "mine"))
    bodies = [nn.Sequential(nn.Conv2d(3, 4, 3), layer) for layer in (nn.ReLU(), nn.SiLU(), nn.ReLU())]
    bodies[1].load_state_dict(bodies[0].state_dict())
    relu, silu, other = (body_onnx.digest(body, training) for body in bodies)
    smaller = body_onnx.digest(bodies[0], replace(training, image_size=16))
    assert len({relu, silu, other, smaller}) == 4
    names = {features._of_torch(body, training, view).digest for body in bodies[:2] for view in (0, 1)}
    monkeypatch.setattr(features, "versions", lambda names: "others")
    names.add(features._of_torch(bodies[0], training, 0).digest)
    assert len(names) == 5


def test_it_is_named_by_the_code_that_made_it(tmp_path, monkeypatch):
    """Which is that which was loaded: an edit since does not count."""
    training = Training("net", ["a", "b"], 32, [0.5] * 3, [0.5] * 3, "head", 1, 0, Weights("here", "mine"))
    monkeypatch.setattr(quantization, "quantized", lambda *_: b"integers")

    def names() -> list[str]:
        digest = body_onnx.digest(nn.ReLU(), training)
        quantization.kept(tmp_path, b"floats", 32)
        (path,) = (tmp_path / BODIES).iterdir()
        path.unlink()
        return [digest, embedding.of_network(b"floats", 32).digest, path.name]

    before = names()
    (tmp_path / "edited.py").touch()
    for module in (body_onnx, embedding, pixels, inference, quantization, drawn):
        monkeypatch.setattr(module, "__file__", str(tmp_path / "edited.py"))
    assert names() == before
    for module in (body_onnx, embedding, quantization):
        monkeypatch.setattr(module, "CODE", b"edited before it was loaded")
    assert not {*names()} & {*before}
