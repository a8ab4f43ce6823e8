"""Settings: defaults below the user's own, flowing down the graph; misspellings refused."""

import luigi
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenr_luigi import settings


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
    monkeypatch.setattr(settings, "HERE", tmp_path)
    (tmp_path / "luigi.cfg").write_text("[Above]\none = 1\ntwo = 2\n[Below]\nthree = 3\n")
    return fresh


def values(config):
    return {name: [config.get(stage, name) for stage in ("Above", "Below")] for name in ("one", "two")}


def test_defaults_flow_down(config):
    settings.apply(STAGES, [])
    assert values(config) == {"one": ["1", "1"], "two": ["2", "2"]}
    assert config.get("Below", "three") == "3"


def test_what_a_user_sets_above_flows_down(config):
    config.set("Above", "one", "10")
    settings.apply(STAGES, [])
    assert values(config) == {"one": ["10", "10"], "two": ["2", "2"]}


def test_what_a_user_sets_below_stays_below(config):
    config.set("Below", "one", "10")
    settings.apply(STAGES, [])
    assert values(config) == {"one": ["1", "10"], "two": ["2", "2"]}


def test_misspelled_names_are_refused(config):
    config.set("Above", "ones", "10")
    with pytest.raises(
        settings.SettingError, match=r"\[Above\] ones is no parameter of Above: did you mean one\?"
    ):
        settings.apply(STAGES, [])


def test_misspelled_sections_are_refused(config):
    config.set("Abvoe", "one", "10")
    with pytest.raises(settings.SettingError, match=r"\[Abvoe\] is no stage: did you mean \[Above\]\?"):
        settings.apply(STAGES, [])


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--module", "x", "Below", "--thre", "1"], None),
        (["--module", "x", "Below", "--three=1", "--local-scheduler", "--workers", "2"], None),
        (["--module", "x", "Below", "--help"], None),
        (["--module", "x", "Below", "--threee", "1"], "did you mean --three?"),
        (["--module", "x", "Below", "--zzz", "1"], "expected one of one, two, three"),
        (["Below", "--threee", "1"], None),
    ],
)
def test_command_line(argv, says):
    if says is None:
        settings.check_command_line(STAGES, argv)
    else:
        with pytest.raises(settings.SettingError) as error:
            settings.check_command_line(STAGES, argv)
        assert says in str(error.value)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("dandelion,grass", ("dandelion", "grass")),
        (" maine coon , Löwenzahn,x", ("maine coon", "Löwenzahn", "x")),
        ('["a, b", "c"]', ("a, b", "c")),
        ("Lo\u0308wenzahn,x", ("Löwenzahn", "x")),
    ],
)
def test_classes(text, names):
    assert settings.ClassesParameter().parse(text) == names


@pytest.mark.parametrize("text", ["one", "a,a", "a,,b", "", "[]", '["a"]', "Lo\u0308we,Löwe"])
def test_classes_that_cannot_be_meant(text):
    with pytest.raises(settings.SettingError, match="expected two or more different names"):
        settings.ClassesParameter().parse(text)


@given(st.lists(st.text(min_size=1), min_size=2, unique=True))
def test_classes_survive_the_way_to_the_scheduler_and_back(names):
    parameter = settings.ClassesParameter()
    try:
        value = parameter.normalize(names)
    except settings.SettingError:
        return
    assert parameter.parse(parameter.serialize(value)) == value
