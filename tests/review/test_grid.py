"""The grid's answers: which pictures it shows, and what becomes of decisions over many."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from greenr_luigi.dataset import curation, decisions
from greenr_luigi.kept import THUMBNAILS
from greenr_luigi.pictures import door, manifest, thumbnails
from greenr_luigi.review import cases
from greenr_luigi.review.catalogue import Catalogue, Places
from greenr_luigi.review.page import create
from tests.review.collected import LABELS, Collected, picture

OURS = {"Sec-Fetch-Site": "same-origin"}


class Page:
    """A grid as its script asks it."""

    def __init__(self, collected: Collected, catalogue: Catalogue | None = None) -> None:
        self.root = collected.root
        self.review = cases.Review(self.root, [], [*LABELS])
        app = create(self.review, "t", catalogue or collected.catalogue())
        self.client = TestClient(app, "http://127.0.0.1", headers=OURS)

    def listed(self, query: str = "") -> dict[str, Any]:
        answer = self.client.get(f"/t/grid/list?{query}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def ids(self, query: str = "") -> list[str]:
        return [id for id, _ in self.listed(query)["pictures"]]

    def decide(self, verdict: str, pictures: dict[str, str]) -> Any:
        return self.client.post("/t/grid/decide", json={"verdict": verdict, "pictures": pictures})

    def undo(self, number: int) -> Any:
        return self.client.post("/t/grid/undo", json={"number": number})

    def curation(self) -> decisions.Curation:
        return decisions.read_curation(self.root / decisions.FILE)


@pytest.fixture
def collected(tmp_path: Path) -> Collected:
    return Collected(tmp_path, 20)


@pytest.fixture
def page(collected: Collected) -> Page:
    return Page(collected)


def sha(row: manifest.PictureRow) -> str:
    return row.sha256[:16]


@pytest.mark.slow
def test_each_filter_shows_its_pictures_and_says_how_many_the_others_would(
    page: Page, collected: Collected
) -> None:
    grass, dandelion = collected.rows["grass"], collected.rows["dandelion"]
    everything = {sha(row) for row in (*grass, *dandelion)}
    assert set(page.ids()) == everything
    assert page.ids("class=grass&sort=newest") == [
        sha(row) for row in sorted(sorted(grass, key=sha), key=lambda row: row.fetched or "", reverse=True)
    ]
    doubtful = page.listed("why=doubtful&class=grass")
    assert [id for id, _ in doubtful["pictures"]] == [sha(row) for row in grass[:3]]
    assert doubtful["sorts"][""] == "most doubtful first (usual)"
    assert set(page.ids("why=otherwise")) == {sha(rows[n]) for rows in (grass, dandelion) for n in (3, 4)}
    assert page.ids("why=strange&class=grass") == [sha(grass[3])]
    newest = max((row.fetched or "")[:10] for row in (*grass, *dandelion))
    assert set(page.ids("why=newest")) == {
        sha(row) for row in (*grass, *dandelion) if (row.fetched or "").startswith(newest)
    }
    assert set(page.ids("side=test&class=grass")) == {sha(grass[n]) for n in (4, 14)}
    assert set(page.ids("side=duplicate")) == {sha(grass[9]), sha(dandelion[9])}
    assert set(page.ids("side=none")) == {sha(grass[19]), sha(dandelion[19])}
    assert set(page.ids("source=bing")) == {sha(row) for row in (*grass, *dandelion) if row.engine == "bing"}
    known = {facet: {value for value, _, _ in options} for facet, options in page.listed()["facets"].items()}
    assert known["side"] == {"", "train", "valid", "test", "duplicate", "none"}
    for query in ("", "class=grass", "class=grass&side=train&why=doubtful", "source=bing&sort=small"):
        facets = page.listed(query)["facets"]
        for facet in ("class", "side", "source"):
            assert {value for value, _, _ in facets[facet]} == known[facet], (
                "what shows nothing can be chosen, too"
            )
        chosen = dict(part.split("=") for part in query.split("&") if part)
        for facet, options in facets.items():
            for value, _, count in options:
                others = {**chosen, facet: value}
                asked = "&".join(f"{name}={what}" for name, what in others.items())
                assert len(page.ids(asked)) == count, asked


def test_what_was_decided_is_not_asked_again(page: Page, collected: Collected) -> None:
    doubtful = page.ids("why=doubtful&class=grass")
    page.decide("keep", {doubtful[0]: ""})
    page.decide("=dandelion", {doubtful[1]: ""})
    assert page.ids("why=doubtful&class=grass&said=any") == doubtful[2:]
    assert len(page.ids("why=doubtful&said=any")) == 4
    assert page.ids("said=kept") == doubtful[:1] and page.ids("said=relabelled") == doubtful[1:2]


def test_what_is_known_of_a_picture_is_told(page: Page, collected: Collected) -> None:
    doubtful, judged, out = (collected.rows["grass"][number] for number in (0, 3, 9))
    told = [dict(page.client.get(f"/t/grid/about/{sha(row)}").json()) for row in (doubtful, judged, out)]
    assert (
        told[0]["Doubtful"] == "a model that did not learn from it says dandelion, and gives grass 10\u00a0%"
    )
    assert (told[0]["Side"], told[1]["Side"], told[2]["Left out"]) == ("train", "validation", "the same")
    assert told[1]["Judged as"] == "dandelion" and told[1]["Familiarity"] == "0.15"
    assert page.client.get("/t/grid/about/0123456789abcdef").status_code == 404


def test_what_no_filter_knows_shows_nothing_and_is_said(page: Page) -> None:
    assert page.ids("class=daisy") == page.ids("side=%3Cb%3E") == page.ids("said=nonsense") == []
    html = page.client.get("/t/grid?class=%3Cb%3Edaisy").text
    assert "&lt;b&gt;daisy (0)" in html and "<b>daisy" not in html


def test_many_are_decided_at_once_and_taken_back_at_once(page: Page, collected: Collected) -> None:
    ids = page.ids("class=grass")
    before = page.curation()
    answer = page.decide("reject", dict.fromkeys(ids[:5], "")).json()
    assert answer["words"] == "5 thrown out" and answer["last"]["words"] == "5 thrown out"
    assert answer["states"] == dict.fromkeys(ids[:5], "x")
    assert {id[:16] for id in page.curation().rejected} == set(ids[:5])
    looks = {row.perceptual_hash for row in collected.rows["grass"] if sha(row) in ids[:5]}
    newest = max(row.fetched or "" for rows in collected.rows.values() for row in rows)
    assert page.curation().rejected_hashes == dict.fromkeys(looks, newest)
    assert set(page.ids("class=grass")) == set(ids[5:]) and set(page.ids("said=rejected")) == set(ids[:5])

    shown = {**dict.fromkeys(ids[:2], "x"), **dict.fromkeys(ids[5:8], "")}
    second = page.decide("=dandelion", shown).json()
    assert second["words"] == "5 called dandelion"
    assert second["states"].keys() == set(ids[:8]) and page.ids("said=rejected") != []
    assert (page.root / "curation.csv").read_text().count("restore") == 0, "another label is enough"
    assert len(page.curation().rejected) == 3 and set(page.curation().relabelled.values()) == {"dandelion"}
    assert set(page.ids("class=dandelion&said=relabelled")) == set(shown)
    kept = page.decide("keep", {**dict.fromkeys(ids[:2], "=dandelion"), ids[9]: ""}).json()
    assert kept["words"] == "1 kept as they are" and len(page.curation().relabelled) == 5
    assert page.review.batches.size == 11

    for number, words in ((kept, "1 kept"), (second, "5 called"), (answer, "5 thrown")):
        taken = page.undo(number["last"]["number"])
        assert taken.status_code == 200 and taken.json()["words"].startswith(f"taken back: {words}")
    assert page.curation() == before and page.listed()["last"] is None
    assert page.undo(answer["last"]["number"]).status_code == 409


def test_what_was_said_can_be_taken_back_after_the_page_was_closed(page: Page, collected: Collected) -> None:
    ids = page.ids("class=grass")
    page.decide("reject", dict.fromkeys(ids[:3], ""))
    page.decide("=dandelion", {ids[3]: ""})
    later = Page(collected)
    answer = later.decide("restore", {ids[0]: "x", ids[3]: "=dandelion", ids[7]: ""}).json()
    assert answer["words"] == "2 as if nothing had been said"
    assert {id[:16] for id in later.curation().decided} == set(ids[1:3])
    assert later.decide("restore", {ids[7]: ""}).json()["words"].startswith("nothing to change")


def test_a_batch_is_one_write_or_none(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = page.ids()
    page.decide("reject", dict.fromkeys(ids[:3], ""))
    content = (page.root / decisions.FILE).read_bytes()
    written = []
    replaced = Path.replace
    monkeypatch.setattr(Path, "replace", lambda path, to: written.append(to) or replaced(path, to))  # type: ignore[func-returns-value]
    page.decide("keep", dict.fromkeys(ids[3:20], ""))
    assert written == [page.root / decisions.FILE]

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    content = (page.root / decisions.FILE).read_bytes()
    monkeypatch.setattr(os, "fsync", full)
    answer = page.decide("reject", dict.fromkeys(ids[20:], ""))
    assert answer.status_code == 409 and "disk is full" in answer.text
    taken = page.undo(page.listed()["last"]["number"])
    assert taken.status_code == 409 and "disk is full" in taken.text
    assert (page.root / decisions.FILE).read_bytes() == content
    monkeypatch.undo()
    assert page.listed()["last"]["words"] == "17 kept as they are"
    assert page.undo(page.listed()["last"]["number"]).status_code == 200


def test_what_others_decided_meanwhile_is_not_overruled_unseen(page: Page, collected: Collected) -> None:
    ids, grass = page.ids("class=grass"), collected.rows["grass"]
    curation.relabel(page.root, "dandelion", [grass[0].sha256])
    content = (page.root / decisions.FILE).read_bytes()
    answer = page.decide("reject", dict.fromkeys(ids, ""))
    assert answer.status_code == 409 and "1 of the 20 were decided elsewhere meanwhile" in answer.text
    assert (page.root / decisions.FILE).read_bytes() == content
    states = page.listed()["states"]
    assert states == {sha(grass[0]): "=dandelion"}
    assert page.decide("reject", {id: states.get(id, "") for id in ids}).status_code == 200
    # What is said of others in between stays, when this is taken back.
    curation.reject(page.root, [collected.rows["dandelion"][0].sha256])
    assert page.undo(page.listed()["last"]["number"]).status_code == 200
    assert page.curation().relabelled == {grass[0].sha256: "dandelion"}
    assert page.curation().rejected == {collected.rows["dandelion"][0].sha256}


def test_what_was_taken_back_elsewhere_is_not_said_to_be_so_still(page: Page, collected: Collected) -> None:
    id = page.ids()[0]
    page.decide("reject", {id: ""})
    assert page.decide("reject", {id: "x"}).json()["words"].startswith("nothing to change")
    assert page.undo(page.listed()["last"]["number"]).status_code == 200
    answer = page.decide("reject", {id: "x"})
    assert answer.status_code == 409 and "1 of the 1 were decided elsewhere" in answer.text


def test_what_a_person_edited_since_is_not_taken_back(page: Page) -> None:
    ids = page.ids()
    page.decide("reject", dict.fromkeys(ids[:2], ""))
    edited = (page.root / decisions.FILE).read_text().replace("reject", "keep")
    (page.root / decisions.FILE).write_text(edited)
    answer = page.undo(page.listed()["last"]["number"])
    assert answer.status_code == 409 and "was edited since, where it says 2 thrown out" in answer.text
    assert (page.root / decisions.FILE).read_text() == edited and page.listed()["last"] is None


def test_what_cannot_be_read_is_said(page: Page) -> None:
    ids = page.ids()
    (page.root / decisions.FILE).write_text("nonsense\n")
    for answer in (
        page.client.get("/t/grid"),
        page.client.get("/t/grid/list"),
        page.client.get("/t/"),
        page.decide("reject", {ids[0]: ""}),
    ):
        assert answer.status_code == 409 and "line 1: 1 cells in 'nonsense'" in answer.text


@pytest.mark.parametrize(
    ("content", "status"),
    [
        ('{"verdict": "reject", "pictures": {}', 400),
        ('{"verdict": "reject"}', 400),
        ('{"verdict": "=daisy", "pictures": {}}', 400),
        ('{"verdict": "add", "pictures": {}}', 400),
        ('{"verdict": "reject", "pictures": {"0123456789abcdef": ""}}', 409),
        ('{"verdict": "reject", "pictures": {"' + "0" * 17_000_000 + '": ""}}', 413),
        ("[" * 100_000, 400),
        (b"\xff", 400),
        ('{"verdict": "reject", "pictures": {}}', 200),
    ],
)
def test_what_the_page_would_not_send(page: Page, content: str | bytes, status: int) -> None:
    assert page.client.post("/t/grid/decide", content=content).status_code == status
    assert not (page.root / decisions.FILE).exists()


def test_only_the_page_itself_decides_and_only_who_knows_the_address_sees(page: Page) -> None:
    ids = page.ids()
    content = {"verdict": "reject", "pictures": {ids[0]: ""}}
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "none"}, {"Origin": "http://evil"}):
        strange = TestClient(page.client.app, "http://127.0.0.1", headers=headers)
        assert strange.post("/t/grid/decide", json=content).status_code == 403
        assert strange.post("/t/grid/undo", json={"number": 1}).status_code == 403
    rebound = TestClient(page.client.app, "http://evil.example", headers=OURS)
    assert rebound.post("/t/grid/decide", json=content).status_code == 400
    for path in ("grid", "grid/list", f"grid/thumbnail/{ids[0]}", f"grid/picture/{ids[0]}"):
        assert page.client.get(f"/x/{path}").status_code == page.client.get(f"/{path}").status_code == 404
        assert page.client.get(f"/t/{path}").status_code == 200
    assert not (page.root / decisions.FILE).exists()


def test_a_thumbnail_is_made_once_and_kept_for_all_processes(page: Page, collected: Collected) -> None:
    row = collected.rows["grass"][0]
    first = page.client.get(f"/t/grid/thumbnail/{sha(row)}")
    assert first.headers["content-type"] == "image/jpeg" and "immutable" in first.headers["cache-control"]
    assert max(door.open_picture(first.content, 1).size) <= thumbnails.SIDE
    assert len([*(page.root / THUMBNAILS).iterdir()]) == 1
    (collected.folders["grass"] / row.file).unlink()
    assert Page(collected).client.get(f"/t/grid/thumbnail/{sha(row)}").content == first.content
    assert page.client.get(f"/t/grid/picture/{sha(row)}").status_code == 404


def test_only_the_picture_that_was_listed_is_shown(page: Page, collected: Collected, tmp_path: Path) -> None:
    other, link = collected.rows["grass"][:2]
    (collected.folders["grass"] / other.file).write_bytes(picture(9))
    mine = tmp_path / "mine.png"
    (collected.folders["grass"] / link.file).rename(mine)
    (collected.folders["grass"] / link.file).symlink_to(mine)
    for row in (other, link):
        for kind in ("thumbnail", "picture"):
            assert page.client.get(f"/t/grid/{kind}/{sha(row)}").status_code == 404
        with pytest.raises(FileNotFoundError):
            thumbnails.Thumbnails(page.root).get(row.sha256, (tmp_path / "gone").read_bytes)


def test_thumbnails_take_no_more_room_than_they_may(tmp_path: Path, collected: Collected) -> None:
    read: list[int] = []

    def some(number: int) -> bytes:
        read.append(number)
        return picture(number)

    for _ in range(2):
        cache = thumbnails.Thumbnails(tmp_path, most_bytes=20_000)
        for number in range(40):
            assert cache.get(door.sha256(picture(number)), functools.partial(some, number))
    (file,) = (tmp_path / THUMBNAILS).iterdir()
    assert file.stat().st_size < 40_000 and 40 < len(read) < 80


def test_no_thumbnail_of_another_picture_is_kept(tmp_path: Path) -> None:
    cache, sha256 = thumbnails.Thumbnails(tmp_path), door.sha256(picture(1))
    other = cache.get(sha256, lambda: picture(2))
    assert cache.get(sha256, lambda: picture(1)) != other
    assert cache.get(sha256, (tmp_path / "gone").read_bytes) != other


def test_a_link_in_the_place_of_thumbnails_leads_nowhere(tmp_path: Path, page: Page) -> None:
    (tmp_path / "elsewhere").mkdir()
    (page.root / THUMBNAILS).symlink_to(tmp_path / "elsewhere")
    assert page.client.get(f"/t/grid/thumbnail/{page.ids()[0]}").status_code == 200
    assert not [*(tmp_path / "elsewhere").iterdir()]


def test_pictures_are_there_before_there_is_a_data_set_or_a_model(tmp_path: Path) -> None:
    collected = Collected(tmp_path, 4, trained=False)
    page = Page(collected)
    assert len(page.ids("class=grass")) == 4 and len(page.ids("side=none")) == 8
    assert page.ids("why=doubtful") == []
    assert page.decide("reject", dict.fromkeys(page.ids("class=grass"), "")).status_code == 200
    nothing = Page(collected, Catalogue())
    assert "There are no pictures yet" in nothing.client.get("/t/grid").text and nothing.ids() == []


def test_a_run_that_has_finished_is_noticed(collected: Collected) -> None:
    now = [Places(collected.folders), "first"]
    page = Page(collected, Catalogue(lambda: now[0], lambda: now[1]))  # type: ignore[arg-type, return-value]
    before, grass = page.listed(), page.ids("class=grass")
    now[:] = [Places({"dandelion": collected.folders["dandelion"]}), "second"]
    after = page.listed()
    assert before["edition"] != after["edition"] and len(after["pictures"]) == 20
    answer = page.decide("reject", {grass[0]: "", page.ids()[0]: ""})
    assert answer.status_code == 409 and "1 of the 2 are in no output any more" in answer.text
    assert not (page.root / decisions.FILE).exists()


def test_one_by_one_does_not_ask_what_the_grid_has_decided(page: Page, collected: Collected) -> None:
    waiting = cases.undecided(page.root, collected.dataset, collected.evaluation)
    assert waiting == []  # The data set's files are not there; that they are is the other test's.
    rows = collected.rows["grass"][:3]
    doubtful = [
        cases.Case(collected.folders["grass"] / row.file, row.sha256, "grass", "dandelion", 0.1)
        for row in rows
    ]
    review = cases.Review(page.root, doubtful, [*LABELS])
    client = TestClient(create(review, "t", collected.catalogue()), "http://127.0.0.1", headers=OURS)
    content = {"verdict": "reject", "pictures": {sha(rows[0]): ""}}
    assert client.post("/t/grid/decide", json=content).status_code == 200
    html = client.get("/t/").text
    assert "2 of 3: is this grass?" in html and "1 of 3 decided" in html
    assert "It was decided elsewhere" in client.get("/t/?at=0").text
