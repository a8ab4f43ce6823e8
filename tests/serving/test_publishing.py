"""Publishing: whole, under the name of the content, and nothing from elsewhere."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from greenr_luigi.serving import publishing, releases, rollout
from tests import tiny_release
from tests.serving.made import export


def test_publish_is_idempotent_and_leaves_the_stamp_out(tmp_path: Path) -> None:
    store = tmp_path / "a store"
    first = publishing.publish(store, export(tmp_path / "e").iterdir())
    again = publishing.publish(store, export(tmp_path / "e").iterdir())
    assert first == again and releases.DIGEST.fullmatch(first)
    assert sorted(p.name for p in (store / first).iterdir()) == ["model.json", "model.onnx", "release.json"]
    assert releases.releases(store) == [first]
    assert [p.name for p in store.iterdir()] == [first]


def test_folders_travel_and_change_the_digest(tmp_path: Path) -> None:
    metrics = tmp_path / "metrics.json"
    metrics.write_text("{}")
    pictures = export(tmp_path / "pictures")
    plain = publishing.publish(tmp_path / "s", export(tmp_path / "e").iterdir())
    rich = publishing.publish(tmp_path / "s", [*export(tmp_path / "e").iterdir(), metrics, pictures])
    assert plain != rich
    assert set(releases.verify(tmp_path / "s", rich).files) >= {"metrics.json", "pictures/model.onnx"}
    listed = [tmp_path / "e" / "model.onnx", tmp_path / "e" / "model.json"]
    assert publishing.publish(tmp_path / "s", listed) == plain


@pytest.mark.parametrize("name", ["model.onnx", "model.json"])
def test_a_release_without_its_model_is_refused(tmp_path: Path, name: str) -> None:
    folder = export(tmp_path / "e")
    (folder / name).unlink()
    with pytest.raises(releases.ReleaseError, match=f"no {name}.*export the model again"):
        publishing.publish(tmp_path / "s", folder.iterdir())
    assert list((tmp_path / "s").glob("*")) == []


def test_missing_extra_and_two_files_of_one_name(tmp_path: Path) -> None:
    with pytest.raises(releases.ReleaseError, match="neither a file nor a folder"):
        publishing.publish(tmp_path / "s", [*export(tmp_path / "e").iterdir(), tmp_path / "nothing.html"])
    with pytest.raises(releases.ReleaseError, match=r"two files for 'model\.json'"):
        publishing.publish(
            tmp_path / "s", [*export(tmp_path / "e").iterdir(), export(tmp_path / "f") / "model.json"]
        )


def test_nothing_from_elsewhere_gets_into_a_release(tmp_path: Path) -> None:
    """Neither by a link nor by a name in release.json."""
    store, pictures = tmp_path / "releases", tmp_path / "pictures"
    digest = publishing.publish(store, tiny_release.export(tmp_path / "export").iterdir())
    pictures.mkdir()
    (tmp_path / "secret").write_text("mine")
    (pictures / "a.jpg").symlink_to(tmp_path / "secret")
    with pytest.raises(releases.ReleaseError, match="is a link, and may lead anywhere"):
        publishing.publish(store, [*(tmp_path / "export").iterdir(), pictures])
    note = json.loads((store / digest / "release.json").read_text())
    note["files"]["../../secret"] = {"sha256": "0" * 64, "size": 4}
    (store / digest / "release.json").write_text(json.dumps(note))
    with pytest.raises(releases.ReleaseError, match="cannot be read as ReleaseNote"):
        releases.verify(store, digest)


@pytest.mark.parametrize("name", ["", "release.json", "model.onnx", "pictures"])
@pytest.mark.parametrize("what", ["file", "folder", "link to itself", "link to nowhere"])
def test_whatever_lies_in_the_place_of_a_release_it_is_published_anew(
    tmp_path: Path, name: str, what: str
) -> None:
    store, pictures = tmp_path / "s", export(tmp_path / "pictures")
    made = [*export(tmp_path / "e").iterdir(), pictures]
    digest = publishing.publish(store, made)
    damaged = store / digest / name
    damaged.rename(tmp_path / "aside")
    if what == "file":
        damaged.write_text("something else")
    elif what == "folder":
        damaged.mkdir()
    else:
        damaged.symlink_to(damaged if what == "link to itself" else tmp_path / "nowhere")
    with pytest.raises(releases.ReleaseError, match="deploy again"):
        releases.verify(store, digest)
    with pytest.raises(releases.ReleaseError, match="deploy again"):
        releases.verify_touched(store, digest)
    assert publishing.publish(store, made) == digest and releases.is_sound(store, digest)
    rollout.point(store, digest)


def test_two_publishers_of_the_same_files(tmp_path: Path) -> None:
    export(tmp_path / "e")
    found: list[str] = []

    def publish() -> None:
        found.append(publishing.publish(tmp_path / "s", (tmp_path / "e").iterdir()))

    both = [threading.Thread(target=publish) for _ in range(8)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert len(found) == 8 and len(set(found)) == 1
    releases.verify(tmp_path / "s", found[0])
    assert [p.name for p in (tmp_path / "s").iterdir()] == found[:1]
