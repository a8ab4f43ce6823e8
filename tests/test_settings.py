"""Settings: defaults below the user's own, flowing down the graph; misspellings refused."""

import logging
import os
import subprocess
import sys
import traceback

import luigi
import pytest
from luigi.cmdline_parser import CmdlineParser

import tasks
from greenr_luigi import cli, config_check, settings
from greenr_luigi.about import DEFAULTS, PACKAGE
from greenr_luigi.errors import SettingError
from greenr_luigi.operations import stages
from greenr_luigi.serving.service import Service
from tests.test_parameters import REFUSED


class Above(luigi.Task):
    one = luigi.IntParameter(description="...")
    two = luigi.IntParameter(description="...")


class Below(luigi.Task):
    one = Above.one
    two = Above.two
    three = luigi.IntParameter(description="...")


STAGES = (Above, Below)


@pytest.fixture
def config(monkeypatch, tmp_path):
    """Luigi's configuration, empty, with packaged defaults of the test's own below it."""
    fresh = luigi.configuration.LuigiConfigParser()
    monkeypatch.setattr(luigi.configuration, "get_config", lambda: fresh)
    monkeypatch.setattr(settings, "DEFAULTS", tmp_path / "luigi.cfg")
    (tmp_path / "luigi.cfg").write_text("[Above]\none = 1\ntwo = 2\n[Below]\nthree = 3\n")
    return fresh


def values(config):
    return {name: [config.get(stage, name) for stage in ("Above", "Below")] for name in ("one", "two")}


def test_defaults_flow_down(config):
    settings.apply(STAGES)
    assert values(config) == {"one": ["1", "1"], "two": ["2", "2"]}
    assert config.get("Below", "three") == "3"


def test_what_a_user_sets_above_flows_down(config):
    config.set("Above", "one", "10")
    settings.apply(STAGES)
    assert values(config) == {"one": ["10", "10"], "two": ["2", "2"]}


def test_what_a_user_sets_below_stays_below(config):
    config.set("Below", "one", "10")
    settings.apply(STAGES)
    assert values(config) == {"one": ["1", "10"], "two": ["2", "2"]}


def test_misspelled_names_are_refused(config):
    config.set("Above", "ones", "10")
    with pytest.raises(SettingError, match=r"\[Above\] ones is no parameter of Above: did you mean one\?"):
        settings.apply(STAGES)


def test_misspelled_sections_are_refused(config):
    config.set("Abvoe", "one", "10")
    with pytest.raises(SettingError, match=r"\[Abvoe\] is no stage: did you mean \[Above\]\?"):
        settings.apply(STAGES)


@pytest.mark.parametrize(
    "argv",
    [
        ["--module", "tests", "Below", "--one", "1", "--two", "2", "--thre", "1"],
        [
            "--module",
            "tests",
            "Below",
            "--three=1",
            "--one=1",
            "--two=2",
            "--local-scheduler",
            "--workers",
            "2",
        ],
    ],
)
def test_a_command_line_that_can_be_meant(argv):
    task = settings.build_task(STAGES, argv)
    assert isinstance(task, Below) and task.three == 1


@pytest.mark.parametrize("argv", [["--module", "tests"], ["--module", "tests", "Below", "--help"]])
def test_a_command_line_that_runs_no_task(argv):
    assert settings.build_task(STAGES, argv) is None


def test_one_parser_is_built_for_the_same_tasks():
    before = CmdlineParser._build_parser("Below")
    assert CmdlineParser._build_parser("Below") is before

    class Later(luigi.Task):
        late = luigi.IntParameter(description="...")

    assert CmdlineParser._build_parser("Later").parse_args(["Later", "--late", "1"]).late == "1"
    assert CmdlineParser._build_parser("Below", help_all=True) is not CmdlineParser._build_parser("Below")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["Below", "--threee", "1"], "--threee is no parameter of Below: did you mean --three?"),
        (["Below", "--zzz", "1"], "--zzz is no parameter of Below: expected one of --one, --two, --three"),
        (["--local-scheduler", "Belo", "--three", "1"], "Belo is no stage: did you mean Below?"),
        (["--workers", "2", "Belo"], "Belo is no stage: did you mean Below?"),
        (["Below", "--one", "1", "--two", "2"], "three"),
    ],
)
def test_a_command_line_that_cannot_be_meant(argv, message):
    with pytest.raises(SettingError) as error:
        settings.build_task(STAGES, ["--module", "tests", *argv])
    assert message in str(error.value)


@pytest.mark.parametrize(("stage", "option", "value", "expected"), REFUSED)
def test_a_value_in_luigi_cfg_is_refused_alike(stage, option, value, expected, config, monkeypatch):
    monkeypatch.setattr(settings, "DEFAULTS", DEFAULTS)
    config.set(stage, option.replace("-", "_"), value.replace("%", "%%"))
    with pytest.raises(SettingError) as error:
        settings.apply(tasks.STAGES)
    said = str(error.value)
    assert said.startswith(f"luigi.cfg: [{stage}] {option} ") and f": expected {expected}" in said


def test_a_home_is_found_in_paths(tmp_path, monkeypatch, config):
    monkeypatch.setattr(settings, "DEFAULTS", DEFAULTS)
    monkeypatch.setenv("HOME", str(tmp_path))
    config.set("DownloadImages", "root", "~/data")
    config.set("DownloadImages", "folder", "~/my pictures")
    (tmp_path / "my pictures").mkdir()
    settings.apply(tasks.STAGES)
    assert stages.default_root() == tasks.DownloadImages(label="x").root == tmp_path / "data"
    assert tasks.DownloadImages(label="x").folder == tmp_path / "my pictures"
    assert tasks.DownloadImages(label="x", folder=None).folder is None
    with pytest.raises(
        SettingError,
        match="--root ~no one/data: expected a path in full, from / on, since there is no such user",
    ):
        tasks.DownloadImages(label="x", root="~no one/data")


def run(folder, *command):
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    command = [sys.executable, *command]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["DeployAp"], "DeployAp is no stage: did you mean DeployApp?"),
        (["DeployApp", "--epohcs", "3"], "--epohcs is no parameter of DeployApp: did you mean --epochs?"),
        (["DeployApp", "--epochs", "0"], "--epochs 0: expected a whole number, at least 1"),
        (
            ["DeployApp", "--force", "Trainmodel"],
            "--force Trainmodel: there is no such stage: did you mean TrainModel?",
        ),
        (
            ["DeployApp", "--valid-share", "0.5", "--test-share", "0.5"],
            "--valid-share 0.5 and --test-share 0.5: expected less than 1 together, for the rest is what the "
            "model learns from",
        ),
        (["DeployApp", "--source", "bin"], "--source bin: there is no such source: did you mean bing?"),
        (["SplitDataset", "--source", "bin"], "--source bin: there is no such source: did you mean bing?"),
        (["DeployApp", "--queries", '{"gras": "x"}'], "--queries: gras is no class: did you mean grass?"),
    ],
)
def test_a_command_line_of_luigi_or_greenr_ends_in_one_line(options, line, tmp_path, capsys):
    with pytest.raises(SettingError) as refused:
        settings.build_task(tasks.STAGES, ["--module", "tasks", *options, "--local-scheduler"])
    assert str(refused.value) == line
    assert cli.main(["status", *options, "--root", str(tmp_path)]) == 1
    assert capsys.readouterr().err == f"greenr: {line}\n"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[TrainModel]\nepohcs = 3", "[TrainModel] epohcs is no parameter of TrainModel: did you mean epochs?"),
        ("[TrainModle]\nepochs = 3", "[TrainModle] is no stage: did you mean [TrainModel]?"),
        ("[DeployApp]\nfloor = 50%", "[DeployApp] floor = 50%: write %% for a percent sign"),
        ("[core]\nlog_level = %x", "[core] log_level = %x: write %% for a percent sign"),
        ("[DeployApp]\nhost = %(h)s", "[DeployApp] host = %(h)s: write %% for a percent sign"),
        ("[DeployApp]\nsource = bin", "[DeployApp] source bin: there is no such source: did you mean bing?"),
        ("[DeployApp]\nhost = ${NO_SUCH}",
         "[DeployApp] host = ${NO_SUCH}: there is no such environment variable: set it"),
        ("[DEFAULT]\narch = 5%", "[DEFAULT] arch = 5%: write %% for a percent sign"),
        ("[DEFAULT]\nepochs = 0\n[TrainModel]", "[DEFAULT] epochs 0: expected a whole number, at least 1"),
        ("[TrainModel]\nepochs = 1\n  2", "[TrainModel] epochs 1 2: expected a whole number, at least 1"),
        ("[run]\nkepe = 2", "[run] kepe is no setting: did you mean keep?"),
        ("[run]\nkeep = -1", "[run] keep -1: expected a whole number, at least 0"),
        ("[server]\nfeedbak = 1", "[server] feedbak is no setting of the page: did you mean feedback?"),
        ("[server]\nfetch-ports = x", "[server] fetch-ports = x: expected a whole number, 1 or more"),
        ("[server]\nroot_path = /a",
         "[server] root_path is no setting of the page: it is [DeployApp] root_path"),
        ("[worker]\nping_interval = x", "[worker] ping_interval = x: expected a number"),
    ],
)  # fmt: skip
def test_a_wrong_luigi_cfg_is_one_line(text, line, tmp_path, config, monkeypatch):
    monkeypatch.setattr(settings, "DEFAULTS", DEFAULTS)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "luigi.cfg").write_text(text)
    config.read("luigi.cfg")
    with pytest.raises(SettingError) as error:
        settings.apply(tasks.STAGES)
    assert str(error.value) == f"luigi.cfg: {line}"


@pytest.mark.slow
@pytest.mark.parametrize("option", ["--modul", "--m"])
def test_luigi_ends_in_that_line_before_it_reads_anything_itself(option, tmp_path):
    (tmp_path / "luigi.cfg").write_text("[core]\nlog_level = %x")
    luigi_run = run(tmp_path, "-m", "luigi", option, "tasks", "DeployApp", "--local-scheduler")
    line = "luigi.cfg: [core] log_level = %x: write %% for a percent sign\n"
    assert (luigi_run.returncode, luigi_run.stderr) == (1, line)


@pytest.mark.parametrize(
    ("section", "option", "value", "words"),
    [
        ("core", "logging_conf_file", "nowhere", "it cannot be read (No such file or directory): correct it"),
        ("core", "logging_conf_file", ".", "it cannot be read (it is a folder, where a file is expected)"),
        ("core", "logging_conf_file", str(DEFAULTS), "it has no section [formatters]: mend it"),
        ("core", "no_configure_logging", "maybe", "expected true or false"),
        ("core", "local_scheduler", "maybe", "maybe"),
        ("core", "rpc-retry-attempts", "x", "expected a whole number"),
        ("core", "default-scheduler-port", "x", "expected a whole number"),
        ("core", "worker-timeout", "soon", "expected a whole number"),
        ("core", "log_level", "LOUD", "is not a valid choice"),
        ("resources", "gpu", "many", "expected a whole number"),
        ("scheduler", "retry_delay", "x", "expected a number"),
        ("execution_summary", "summary_length", "x", "expected a whole number"),
    ],
)
def test_luigis_own_options_are_checked(section, option, value, words, config):
    config.set(section, option, value)
    (mistake,) = config_check.wrong_values(config)
    assert str(mistake).startswith(f"luigi.cfg: [{section}] {option} = {value}: ") and words in str(mistake)


def test_what_luigi_is_told_of_its_log_on_the_command_line_is_checked():
    with pytest.raises(SettingError, match="--logging-conf-file nowhere: it cannot be read"):
        settings.build_task(STAGES, ["--module", "tests", "Below", "--logging-conf-file", "nowhere"])


def test_luigi_logs_what_a_person_can_mend_without_a_traceback(caplog):
    caplog.set_level("WARNING", "luigi-interface")
    logger = logging.getLogger("luigi-interface")
    logger.addFilter(settings._message_alone)
    try:
        for error in (SettingError("mend it"), ValueError("a bug")):
            try:
                raise error from OSError("the cause")
            except type(error):
                logger.exception("Worker %s failed", "x")
                logger.warning(f"Will not run x due to error in complete() method:\n{traceback.format_exc()}")
    finally:
        logger.removeFilter(settings._message_alone)
    mended, mended_too, bug, bug_too = [record.getMessage() for record in caplog.records]
    assert mended == "Worker x failed: mend it"
    assert mended_too == "Will not run x due to error in complete() method:\nmend it\n"
    assert bug == "Worker x failed" and caplog.records[2].exc_info
    assert bug_too.count("Traceback") == 1


@pytest.mark.slow
def test_a_notebook_that_imports_the_stages_goes_on(tmp_path):
    (tmp_path / "luigi.cfg").write_text("[TrainModle]\nepochs = 3")
    script = (
        "from greenr_luigi.errors import SettingError\n"
        "try:\n    import tasks\nexcept SettingError as error:\n    print(error)"
    )
    program = run(tmp_path, "-c", script)
    line = "luigi.cfg: [TrainModle] is no stage: did you mean [TrainModel]?\n"
    assert (program.returncode, program.stdout, program.stderr) == (0, line, "")


@pytest.mark.slow
def test_the_file_that_is_wrong_or_missing_is_named(tmp_path, monkeypatch, capsys, config):
    settings_file = tmp_path / "my settings.cfg"
    monkeypatch.setenv("LUIGI_CONFIG_PATH", str(settings_file))
    missing = f"LUIGI_CONFIG_PATH is {settings_file}, and there is no such file: correct it, or unset it\n"
    luigi_run = run(tmp_path, "-W", "ignore", "-m", "luigi", "--module", "tasks", "DeployApp")
    assert luigi_run.stderr == missing
    assert cli.main(["status", "--root", str(tmp_path)]) == 1
    assert capsys.readouterr().err == f"greenr: {missing}"
    monkeypatch.setattr(settings, "DEFAULTS", DEFAULTS)
    settings_file.write_text("[TrainModel]\narch = 5%")
    config.read(settings_file)
    with pytest.raises(SettingError) as error:
        settings.apply(tasks.STAGES)
    assert str(error.value) == f"{settings_file}: [TrainModel] arch = 5%: write %% for a percent sign"


@pytest.mark.slow
def test_the_arguments_of_another_program_are_its_own(tmp_path):
    program = run(tmp_path, "-c", "import tasks", "--module", "tasks", "DeployAp", "--epochs", "0")
    assert (program.returncode, program.stderr) == (0, "")


def test_a_stage_without_parameters_of_its_own_has_a_section(config, monkeypatch):
    monkeypatch.setattr(settings, "DEFAULTS", DEFAULTS)
    config.set("EvaluateModel", "seed", "7")
    config.set("EvaluateModel", "force", "")
    settings.apply(tasks.STAGES)
    assert tasks.EvaluateModel(classes=("a", "b")).seed == 7
    assert tasks.TrainModel(classes=("a", "b")).seed == 42


def test_a_section_of_another_packages_stage_is_no_mistake(config, monkeypatch):
    monkeypatch.setattr(settings, "DEFAULTS", DEFAULTS)
    config.set("TrainModel2", "epochs", "7")
    settings.apply(tasks.STAGES)


class Between(luigi.Task):
    """A stage of another package, between the two."""

    one = Above.one
    four = luigi.IntParameter(description="...")


def test_a_package_on_top_lays_its_own_defaults_between_the_packaged_and_a_persons(config, tmp_path):
    theirs = tmp_path / "theirs.cfg"
    theirs.write_text("[Above]\none = 11\ntwo = 22\n[Between]\nfour = 4\n")
    config.set("Between", "one", "10")
    config.set("Above", "two", "20")
    settings.apply(STAGES)
    for _ in range(2):
        settings.apply((Above, Between, Below), theirs)
        assert {name: config.get("Above", name) for name in ("one", "two")} == {"one": "11", "two": "20"}
        assert {name: config.get("Between", name) for name in ("one", "four")} == {"one": "10", "four": "4"}
        below = {name: config.get("Below", name) for name in ("one", "two", "three")}
        assert below == {"one": "10", "two": "20", "three": "3"}


def test_what_the_page_is_told_stands_in_luigi_cfg_and_the_environment_goes_before(monkeypatch, tmp_path):
    config = luigi.configuration.get_config()
    monkeypatch.setattr(config, "_sections", {**config._sections, "server": {}})
    for name, value in (("fetch", config_check.Default("1")), ("feedback", "")):
        config.set("server", name, value)
    assert config_check.of_server() == {}, "neither a default nor what is empty is told"
    for name, value in (("feedback", "1"), ("fetch-ports", "80,8080")):
        config.set("server", name, value)
    told = config_check.of_server()
    assert told == {"GREENR_FEEDBACK": "1", "GREENR_FETCH_PORTS": "80,8080"}
    monkeypatch.setenv("GREENR_FEEDBACK", "0")
    note = Service(tmp_path, tmp_path, settings=told).note()
    assert (note.settings["GREENR_FEEDBACK"], note.settings["GREENR_FETCH_PORTS"]) == ("0", "80,8080")
