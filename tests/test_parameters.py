"""Parameters: what cannot be meant is refused in one line, by option, value and what was expected."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tasks
from greenr_luigi import config_check
from greenr_luigi.errors import SettingError
from greenr_luigi.operations import status
from greenr_luigi.parameters import ClassesParameter
from greenr_luigi.staleness.requirements import run_order


def test_a_class_that_no_folder_can_be_named_after_is_refused():
    with pytest.raises(SettingError, match="takes 300 bytes in a folder name; at most"):
        ClassesParameter().parse("a," + "b" * 300)


@pytest.mark.parametrize("name", ["a\nb", "a\u2028b", "a\x85b", "a\x1cb", "a\tb"])
def test_a_class_with_a_control_character_is_refused_with_its_name(name):
    for text in (f"x,{name}", json.dumps(["x", name])):
        with pytest.raises(SettingError, match=f"--: the label {re.escape(repr(name))} holds a control"):
            ClassesParameter().parse(text)


def test_classes_are_written_as_they_are_read():
    assert ClassesParameter().serialize(("Löwenzahn, gelb", "b")) == '["Löwenzahn, gelb", "b"]'


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("dandelion,grass", ("dandelion", "grass")),
        ("grass,dandelion", ("dandelion", "grass")),
        (" maine coon , Löwenzahn,x", ("Löwenzahn", "maine coon", "x")),
        ('["a, b", "c"]', ("a, b", "c")),
        ("Lo\u0308wenzahn,x", ("Löwenzahn", "x")),
    ],
)
def test_classes(text, names):
    assert ClassesParameter().parse(text) == names


#: Of every option that is not any text: what cannot be meant, and what was expected.
REFUSED = [
    ("TrainModel", "epochs", "0", "a whole number, at least 1"),
    ("TrainModel", "epochs", "abc", "a whole number, at least 1"),
    ("TrainModel", "epochs", "1.5", "a whole number, at least 1"),
    ("TrainModel", "image-size", "0", "a whole number from 16 to 2048"),
    ("TrainModel", "image-size", "2049", "a whole number from 16 to 2048"),
    ("TrainModel", "recipe", "foo", "one of auto, head, views, finetune"),
    ("TrainModel", "minutes", "-1", "a number from 0 to 525600"),
    ("TrainModel", "minutes", "inf", "a number from 0 to 525600"),
    ("TrainModel", "minutes", "nan", "a number from 0 to 525600"),
    ("SplitDataset", "seed", "-1", "a whole number from 0 to 4294967295"),
    ("SplitDataset", "seed", "4294967296", "a whole number from 0 to 4294967295"),
    ("SplitDataset", "valid-share", "0", "a number above 0 and below 1"),
    ("SplitDataset", "valid-share", "inf", "a number above 0 and below 1"),
    ("SplitDataset", "test-share", "1", "a number above 0 and below 1"),
    ("SplitDataset", "test-share", "15 %", "a number above 0 and below 1"),
    ("SplitDataset", "split", "mine", "one of given, ours"),
    (
        "SplitDataset",
        "classes",
        '["a","b"',
        'two or more different names, such as dandelion,grass or ["dandelion", "grass"]',
    ),
    ("SplitDataset", "queries", "{bad", 'words for each class, such as {"grass": "lawn grass"}'),
    ("SplitDataset", "queries", "[1]", 'words for each class, such as {"grass": "lawn grass"}'),
    ("SplitDataset", "queries", '{"grass": ""}', 'words for each class, such as {"grass": "lawn grass"}'),
    ("DownloadImages", "limit", "-5", "a whole number, at least 0"),
    ("DownloadImages", "refresh-days", "-1", "a whole number, at least 0"),
    *(
        ("DownloadImages", "contact", value, "a page or an address of mail, such as https://example.org/bot")
        for value in (
            "me",
            "example.org",
            "ftp://example.org",
            "me@",
            "me@exa mple.org",
            "a@b)",
            "mé@example.org",
            "a@b@c",
            "https://x y",
        )
    ),
    ("DeployApp", "port", "99999", "a whole number from 0 to 65535"),
    ("DeployApp", "port", "-1", "a whole number from 0 to 65535"),
    ("DeployApp", "port", "http", "a whole number from 0 to 65535"),
    ("DeployApp", "web-workers", "-1", "a whole number, at least 0"),
    ("DeployApp", "floor", "90", "a number from 0 to 1"),
    ("DeployApp", "floor", "nan", "a number from 0 to 1"),
    ("DeployApp", "margin", "-0.1", "a number from 0 to 1"),
]


@pytest.mark.parametrize(("stage", "option", "value", "expected"), REFUSED)
def test_a_value_that_cannot_be_meant_is_refused_by_name(stage, option, value, expected, tmp_path):
    for name in (stage, "DeployApp"):
        with pytest.raises(SettingError) as error:
            status.build(
                name, [f"--{option}={value}", *(["--label=x"] if name == "DownloadImages" else [])], tmp_path
            )
        said = str(error.value)
        assert said.startswith(f"--{option} ") and f": expected {expected}" in said and "\n" not in said


def test_the_ends_of_what_is_allowed_are_allowed(tmp_path):
    given = {"epochs": 1, "image_size": 2048, "port": 0, "web_workers": 0, "floor": 1, "margin": 0, "limit": 0,
             "refresh_days": 0, "seed": 2**32 - 1, "valid_share": 0.001, "recipe": "finetune",
             "minutes": 525600}  # fmt: skip
    options = [f"--{name.replace('_', '-')}={value}" for name, value in given.items()]
    task = status.build("DeployApp", options, tmp_path)
    assert {name: getattr(task, name) for name in given} == given


@pytest.mark.parametrize("pattern", ["(", "a{2,1}", "(?P<group>a)(?P<group>b)", "*"])
def test_a_group_that_is_no_regular_expression_is_refused(tmp_path, pattern):
    words = f"--group {pattern}: .+ position .+: expected a regular expression of Python, such as "
    with pytest.raises(SettingError, match=words.replace(pattern, re.escape(pattern), 1)):
        status.build("SplitDataset", [f"--group={pattern}"], tmp_path)
    split = status.build("SplitDataset", ["--group", r"(\d+)_"], tmp_path)
    # Pictures are collected as before.
    assert split.requires()[0].task_id == status.build("SplitDataset", [], tmp_path).requires()[0].task_id


@pytest.mark.parametrize("minutes", ["inf", "1e300", "-1"])
def test_a_pause_that_no_clock_can_wait_is_refused(minutes):
    with pytest.raises(SettingError, match=f"minutes {minutes}: expected a number from 0 to 1440"):
        config_check.run.minutes.parse(minutes)


def test_a_query_is_of_a_class_however_its_accents_are_composed(tmp_path):
    options = ["--classes", "Löwe,grass", "--queries", '{" Lo\u0308we": "lion"}']
    split = status.build("SplitDataset", options, tmp_path)
    assert [task.query for task in split.requires()] == ["lion", ""]


@pytest.mark.parametrize("option", ["--classes=b,a", '--queries={"b": "two", "a": "one"}'])
def test_the_order_of_classes_counts_for_nothing(tmp_path, option):
    sorted_option = {"--classes=b,a": "--classes=a,b"}.get(option, '--queries={"a": "one", "b": "two"}')
    tasks = [
        status.build("SplitDataset", ["--classes=a,b", given], tmp_path) for given in (option, sorted_option)
    ]
    assert tasks[0].task_id == tasks[1].task_id


def test_a_program_that_builds_a_stage_gets_an_exception():
    with pytest.raises(SettingError, match="--epochs 0: expected a whole number, at least 1"):
        tasks.TrainModel(epochs=0)
    with pytest.raises(SettingError, match=r"--queries: gras is no class: did you mean grass\?"):
        tasks.SplitDataset(queries={"gras": "x"})


@pytest.mark.parametrize("text", ["one", "a,a", "a,,b", ",", "[]", '["a"]', "Lo\u0308we,Löwe"])
def test_classes_that_cannot_be_meant(text):
    with pytest.raises(SettingError, match="expected two or more different names"):
        ClassesParameter().parse(text)


@given(st.lists(st.text(min_size=1), min_size=2, unique=True))
def test_classes_survive_the_way_to_the_scheduler_and_back(names):
    parameter = ClassesParameter()
    try:
        value = parameter.normalize(names)
    except SettingError:
        return
    assert parameter.parse(parameter.serialize(value)) == value


EQUAL = [
    ("queries", '{"grass": "lawn", "dandelion": "weed"}', '{"dandelion": "weed ", "grass": "lawn"}'),
    ("queries", "{}", '{"grass": "grass"}'),
    ("license", "", "any"),
    ("license", "commercial,modify", " Modify, commercial"),
    ("folder", "/mine", "//mine/./"),
    ("folder", "/mine", "/mine/other/.."),
    ("valid-share", "0.2", "0.20"),
    ("limit", "0", "200"),
    ("classes", "dandelion,grass", '["grass", "dandelion "]'),
    ("root-path", "/app", "/app/"),
    ("minutes", "0", "5.0"),
    ("contact", "https://example.org/bot", "mailto:me@example.org"),
]


@pytest.mark.parametrize(
    ("recipe", "one", "other", "same"),
    [
        ("head", "1", "30", True),
        ("views", "0", "30", True),
        ("finetune", "0", "15", True),
        ("finetune", "0", "16", False),
        ("auto", "5", "15", False),
    ],
)
def test_minutes_count_for_a_recipe_that_looks_at_them(tmp_path, recipe, one, other, same):
    folders = [
        [task.output_folder for task in run_order(status.build("DeployApp", options, tmp_path))]
        for options in ([f"--recipe={recipe}", f"--minutes={value}"] for value in (one, other))
    ]
    assert (folders[0] == folders[1]) == same


@pytest.mark.parametrize(("option", "one", "other"), EQUAL)
def test_a_value_counts_and_not_how_it_is_written(tmp_path, option, one, other):
    classes = [] if option == "classes" else ["--classes", "dandelion,grass"]
    stages = [
        [(task.title, task.parameters) for task in run_order(status.build("DeployApp", options, tmp_path))]
        for options in ([*classes, "--source", "bing", f"--{option}={value}"] for value in (one, other))
    ]
    assert stages[0] == stages[1]
