"""JSON files that one stage writes and another reads."""

from dataclasses import dataclass, field

import msgspec
import pytest

from greenr_luigi import contracts
from greenr_luigi.errors import GreenrError


@dataclass
class Inner:
    count: int


@dataclass
class Note:
    name: str
    score: float | None = None
    inner: list[Inner] = field(default_factory=list)


def test_what_is_written_is_read(tmp_path):
    note = Note("Löwe", 0.5, [Inner(1)])
    contracts.write(tmp_path / "note.json", note)
    assert contracts.read(tmp_path / "note.json", Note) == note
    first = (tmp_path / "note.json").read_bytes()
    contracts.write(tmp_path / "note.json", note)
    assert (tmp_path / "note.json").read_bytes() == first
    assert "Löwe" in first.decode()


def test_an_older_file_lacks_fields_and_a_newer_one_has_more(tmp_path):
    (tmp_path / "note.json").write_text('{"name": "x", "later": [1]}')
    assert contracts.read(tmp_path / "note.json", Note) == Note("x")


@pytest.mark.parametrize(
    "text", ["", '{"name": "x"', "[]", '{"name": 1}', "{}", '{"name": "x", "inner": [{}]}', "[" * 100_000, "\xff"]
)  # fmt: skip
def test_a_torn_or_other_file_is_one_clear_error(text, tmp_path):
    path = tmp_path / "note.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(contracts.ContractError) as error:
        contracts.read(path, Note, "run the stage")
    message = str(error.value)
    assert message.startswith(f"{path} cannot be read as Note (") and message.endswith("): run the stage")
    assert isinstance(error.value, GreenrError)


def test_a_file_that_is_not_there_is_no_torn_one(tmp_path):
    with pytest.raises(FileNotFoundError):
        contracts.read(tmp_path / "note.json", Note)


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ('{"name": "x", "score": "high"}', Note("x")),
        ('{"name": "x", "score": NaN, "inner": [{"count": 1}]}', Note("x", None, [Inner(1)])),
        ('{"name": "x", "score": 0.5, "later": Infinity}', Note("x", 0.5)),
    ],
)
def test_what_is_only_shown_may_have_another_shape(tmp_path, text, note):
    (tmp_path / "note.json").write_text(text)
    assert contracts.read_tolerant(tmp_path / "note.json", Note, "make it again") == note


def test_a_strict_field_may_be_missing_but_not_wrong(tmp_path):
    for text in ('{"name": "x"}', '{"name": "x", "score": null}'):
        (tmp_path / "note.json").write_text(text)
        assert contracts.read_tolerant(tmp_path / "note.json", Note, "again", strict=["score"]) == Note("x")
    for text, fault in (("NaN", "got `NaN`"), ("-Infinity", "got `-Infinity`"), ('"high"', "got `str`")):
        (tmp_path / "note.json").write_text(f'{{"name": "x", "score": {text}}}')
        with pytest.raises(contracts.ContractError, match=fault):
            contracts.read_tolerant(tmp_path / "note.json", Note, "again", strict=["score"])


@pytest.mark.parametrize("text", ["", '{"name": "x"', "[]", '{"name": NaN}', "{}", "[" * 100_000])
def test_what_is_needed_may_not(tmp_path, text):
    (tmp_path / "note.json").write_text(text)
    with pytest.raises(contracts.ContractError, match=r"note\.json cannot be read as Note .*: make it again"):
        contracts.read_tolerant(tmp_path / "note.json", Note, "make it again")


def test_a_number_that_is_not_finite_is_refused_where_it_is_written(tmp_path):
    """Not by the stage that reads it, which running again would not mend."""
    with pytest.raises(
        GreenrError, match=r"note\.json: a number of Note is not finite .*did the training diverge"
    ):
        contracts.write(tmp_path / "note.json", Note("x", float("nan")))
    assert not (tmp_path / "note.json").exists()


def test_text_that_is_no_unicode_stops_no_writer(tmp_path):
    """Such as a path in bytes of another encoding, as os.fsdecode gives it."""
    contracts.write(tmp_path / "note.json", Note("caf\udce9"))
    assert contracts.read(tmp_path / "note.json", Note).name == "caf?"
    contracts.append_log(tmp_path / "log", Note("x"), Note("\udcff"), Note("y", 0.5, [Inner(1)]))
    assert contracts.read_log(tmp_path / "log", Note) == [Note("x"), Note("?"), Note("y", 0.5, [Inner(1)])]


@pytest.mark.parametrize(
    "name", ["../a", "/etc/passwd", "a/../b", "a/..", ".hidden", "a//b", "a/", "", "a\0b", "a/.b"]
)
def test_a_name_leads_nowhere_else(name):
    """Neither do the digits of a sha256."""
    assert msgspec.convert("grass/ä b.jpg", contracts.Name) == "grass/ä b.jpg"
    for kind in (contracts.Name, contracts.Sha256):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(name, kind)


def test_a_log_that_is_a_link_is_not_written_to(tmp_path):
    (tmp_path / "mine").write_text("mine\n")
    (tmp_path / "log").symlink_to("mine")
    with pytest.raises(OSError, match="is a link, and what is written would go elsewhere"):
        contracts.append_log(tmp_path / "log", {"a": 1})
    assert (tmp_path / "mine").read_text() == "mine\n"
