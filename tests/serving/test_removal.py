"""Removal: what is superfluous, and what killed writers left."""

from __future__ import annotations

from pathlib import Path

from greenr_luigi.serving import publishing, releases, removal, rollout
from tests.serving.made import export


def test_prune_keeps_the_current_and_the_one_before(tmp_path: Path) -> None:
    store = tmp_path / "s"
    all_of_them = [publishing.publish(store, export(tmp_path / "e", str(n)).iterdir()) for n in range(6)]
    rollout.point(store, all_of_them[0])
    rollout.point(store, all_of_them[2])
    assert removal.superfluous(store, 1, {all_of_them[4]}) == [all_of_them[n] for n in (1, 3, 5)]
    assert removal.superfluous(store, 1) == [all_of_them[n] for n in (1, 3, 4, 5)]
    for digest in removal.superfluous(store, 0):
        removal.remove(store, digest)
    assert set(releases.releases(store)) == {all_of_them[n] for n in (0, 2)}
    assert rollout.rollback(store) == all_of_them[0]


def test_what_killed_writers_left_is_known_by_its_name_and_kind(tmp_path: Path) -> None:
    """Names as `publish`, `point` and `remove` give them."""
    store = tmp_path / "s"
    publishing.publish(store, export(tmp_path / "e").iterdir())
    left = [
        store / name for name in (".current-7-70", f".old-{'a' * 16}-7", ".damaged-ab_01xyz", ".new-ab_01xyz")
    ]
    left[0].symlink_to("a" * 16)
    for folder in left[1:]:
        folder.mkdir()
    for foreign in (".new-", ".new-mine", ".new-ab_01xyz2", ".current-mine", ".old-1"):
        (store / foreign).mkdir()
    (store / ".current-8-80").mkdir()
    (store / ".new-abcdefgh").write_text("a file")
    (store / ".damaged-abcdefgh").symlink_to(tmp_path)
    assert set(removal.leftovers(store)) == set(left)
