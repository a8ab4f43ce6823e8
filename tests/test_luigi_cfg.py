"""A luigi.cfg that Luigi cannot read, or would leave out: one sentence that names the file, the line and the remedy."""

import configparser
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from luigi.configuration import LuigiConfigParser

import tasks
from greenr_luigi import cli, luigi_cfg
from greenr_luigi.about import PACKAGE
from greenr_luigi.errors import SettingError
from greenr_luigi.staleness import regular


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LUIGI_CONFIG_PATH", raising=False)


def test_these_are_the_files_that_luigi_reads() -> None:
    assert [*luigi_cfg.NAMES] == LuigiConfigParser._config_paths[: len(luigi_cfg.NAMES)]


@pytest.mark.parametrize(
    ("written", "words"),
    [
        (b"\nepochs = 3", "luigi.cfg, line 2: epochs = 3: write the section that it belongs to above it"),
        (b"[TrainModel\nepochs = 3", "luigi.cfg, line 1: [TrainModel: write the section"),
        (b"[TrainModel]\nepochs", "luigi.cfg, line 2: epochs: expected `option = value`, or a [section]"),
        (b"[TrainModel]\nseed = 1\n\nseed = 2", "line 4: seed = 2: [TrainModel] has seed already: keep one"),
        (b"[TrainModel]\n[TrainModel]", "line 2: [TrainModel]: there is such a section already: make one of both"),
        (b"[SplitDataset]\nvalid-share = 0.1\nvalid_share = 0.2", "[SplitDataset] valid-share: it stands there with _"),
        (b"\xef\xbb\xbf[TrainModel]", "luigi.cfg, line 1: it begins with a byte order mark (BOM): save it without"),
        ("[TrainModel]\n# grün".encode("latin-1"), "luigi.cfg, line 2: the byte 0xfc is not UTF-8: save it as UTF-8"),
        (b"[core]\nautoload_range = maybe", "luigi.cfg: [core] autoload_range = maybe: expected true or false"),
        ("[TrainModel]".encode("utf-16"), "luigi.cfg, line 1: the byte 0xff is not UTF-8: save it as UTF-8"),
    ],
)  # fmt: skip
def test_one_that_does_not_parse(written: bytes, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("luigi.cfg").write_bytes(written)
    with pytest.raises(SettingError) as error:
        luigi_cfg.check()
    assert words in str(error.value)
    assert cli.main(["status"]) == 1
    assert capsys.readouterr().err == f"greenr: {error.value}\n"


LINES = st.sampled_from(
    [
        "[core]",
        "[core",
        "[worker]",
        "",
        "a = 1",
        "a: 2",
        "b = 1",
        "c",
        "= 3",
        "  d",
        "# e",
        "; f",
        "\x00",
        "ü",
        "a\r",
    ]
)
WRITTEN = st.one_of(
    st.binary(max_size=20),
    st.lists(LINES).map("\n".join).map(str.encode),
    st.lists(LINES).map("\n".join).map(lambda text: text.encode("latin-1")),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(WRITTEN)
def test_what_luigi_reads_is_read_and_what_it_cannot_read_is_told(written: bytes) -> None:
    path = Path("luigi.cfg")
    path.write_bytes(written)
    try:
        LuigiConfigParser().read(path)
    except (configparser.Error, UnicodeDecodeError):
        with pytest.raises(SettingError) as error:
            luigi_cfg.check()
        assert "\n" not in str(error.value)
    else:
        luigi_cfg.check()


def test_the_command_does_not_import_luigi_before_it_has_looked() -> None:
    Path("luigi.cfg").write_text("epochs = 3")
    for option in ("status", "start"):
        command = [sys.executable, "-m", "greenr_luigi.cli", option]
        environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
        run = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert (run.returncode, run.stderr) == (
            1,
            "greenr: luigi.cfg, line 1: epochs = 3: write the section that it belongs to above it, such as "
            "[TrainModel]\n",
        )


def test_what_is_no_file_is_not_taken_for_none(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("luigi.cfg").mkdir()
    with pytest.raises(SettingError, match=r"luigi\.cfg: expected a file; move what is there out of the way"):
        tasks.settings.apply(tasks.STAGES)
    Path("luigi.cfg").rmdir()
    os.mkfifo("luigi.cfg")
    with pytest.raises(SettingError, match=r"luigi\.cfg: expected a file"):
        luigi_cfg.check()
    Path("luigi.cfg").unlink()
    Path("luigi.cfg").symlink_to("elsewhere")
    with pytest.raises(
        SettingError, match=r"luigi\.cfg cannot be read \(No such file or directory\): mend that"
    ):
        luigi_cfg.check()
    Path("luigi.cfg").unlink()

    def refused(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    Path("luigi.cfg").touch()
    monkeypatch.setattr(regular, "read", refused)
    with pytest.raises(SettingError, match=r"luigi\.cfg cannot be read \(Permission denied\): mend that"):
        luigi_cfg.check()


def test_a_folder_that_may_not_be_looked_into_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "exists", refused)
    with pytest.raises(
        SettingError, match=r"whether there is a /etc/luigi/client\.cfg, .*: mend the folder's"
    ):
        luigi_cfg.check()


def test_a_working_directory_that_was_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    for command in ("status", "run", "init", "start"):
        assert cli.main([command]) == 1
        assert capsys.readouterr().err == (
            "greenr: the working directory was deleted: change to one that is there\n"
        )


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("LUIGI_CONFIG_PARSER", "toml", "LUIGI_CONFIG_PARSER is toml, which luigi.cfg is not: unset it"),
        ("LUIGI_CONFIG_PATH", "mine.toml", "LUIGI_CONFIG_PATH is mine.toml: expected a file like luigi.cfg"),
        ("LUIGI_CONFIG_PATH", "no.cfg", "LUIGI_CONFIG_PATH is no.cfg, and there is no such file: correct it"),
    ],
)
def test_one_of_another_form_is_not_left_out(
    name: str, value: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("mine.toml").touch()
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingError) as error:
        luigi_cfg.check()
    assert words in str(error.value)
