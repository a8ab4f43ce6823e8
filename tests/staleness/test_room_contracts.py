"""An edit in a package makes stale just the stages that it shapes: an edit of a page never trains again."""

import shutil

import pytest

import tasks
from greenr_luigi.about import PACKAGE
from greenr_luigi.sources import registry
from greenr_luigi.staleness import code, memo, modules

ROOMS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))
#: What no picture, model or page goes through.
OUTSIDE = [
    "prediction",
    "review",
    "dashboard",
    "operations",
    "commands",
    "cli.py",
    "scheduler.py",
    "settings.py",
    "parameters.py",
    "stage.py",
]
#: Of no stage of their own: they run the server that a deployment starts, and tell whether it is the one to start.
OF_DEPLOYMENT = ["serving", "web", "staleness"]
#: Of the staleness room, what `files` needs, and so every stage; and by what the files of a folder are listed, and how
#: long what was found of it holds.
OF_FILES = [
    f"staleness/{name}.py"
    for name in (
        *("__init__", "errors", "file_system", "holders", "listing", "locks", "memo", "regular", "shown"),
    )
]


def stages():
    """Each stage, one for each source of those whose code depends on it."""
    for stage in tasks.STAGES:
        if isinstance(stage.code, tuple):
            yield stage.__name__, stage.own_classes(), stage.code
        else:
            for source in registry.SOURCES:
                task = stage(label="x", source=source)
                yield f"{stage.__name__} {source}", stage.own_classes(), task.code


STAGES = list(stages())
OF_PICTURES = [f"{stage} {name}" for stage in ("DownloadImages", "PictureShard") for name in registry.SOURCES]
#: The package of a stage is that of the first module in its `code`.
OWN_ROOMS = [shaping[0].split(".")[1] for _, _, shaping in STAGES]


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of the code, and what each stage of it records of that."""
    folder = tmp_path_factory.mktemp("code")
    for name in ("greenr_luigi", "tasks"):
        ignored = shutil.ignore_patterns("__pycache__", "static", "templates")
        shutil.copytree(PACKAGE.parent / name, folder / name, ignore=ignored)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(modules, "folders_of", lambda package: [str(folder.joinpath(*package.split(".")))])
        with memo.question():
            recorded = [code.snapshot(code.sources(shaping, own)) for _, own, shaping in STAGES]
        yield folder / "greenr_luigi", recorded


@pytest.fixture
def stale_after_edit(copy):
    """Edits files and tells which stages are stale then; takes the edit back after."""
    package, recorded = copy
    before = {}

    def edit(pattern):
        paths = set(package.glob(pattern)) - {package / name for name in OF_FILES}
        assert paths
        for path in paths:
            before[path] = path.read_text()
            path.write_text(before[path] + "\nEDITED = True\n")
        # One question, in which each file is read once.
        with memo.question():
            return [
                name
                for (name, own, shaping), record in zip(STAGES, recorded, strict=True)
                if code.changed(record, shaping, own)
            ]

    yield edit
    for path, text in before.items():
        path.write_text(text)


@pytest.mark.parametrize("room", sorted({*ROOMS, *OUTSIDE}))
def test_an_edit_makes_stale_what_it_shapes(stale_after_edit, room):
    pattern = room if room.endswith(".py") else f"{room}/**/*.py"
    names = [name for name, _, _ in STAGES]
    if room in OUTSIDE:
        expected = []
    elif room in OF_DEPLOYMENT:
        expected = [stage.__name__ for stage in tasks.STAGES if stage.role == "deployment"]
    elif room == "pictures":
        expected = names
    elif room == "sources":
        expected = [name for name, own in zip(names, OWN_ROOMS, strict=True) if own == room]
        # Its 8-bit integers have the ranges that drawings give.
        expected += ["ExportModel"]
    else:  # What a stage writes is read by the code that writes it, in all stages after it.
        expected = names[OWN_ROOMS.index(room) :]
    assert stale_after_edit(pattern) == expected


@pytest.mark.parametrize("source", registry.SOURCES)
def test_an_edit_of_a_source_makes_stale_its_own_pictures(stale_after_edit, source):
    file = registry.find(source).module.removeprefix("greenr_luigi.").replace(".", "/") + ".py"
    stages = ("DownloadImages", "PictureShard")
    assert stale_after_edit(file) == [f"{stage} {source}" for stage in stages]


@pytest.mark.parametrize(
    ("file", "names"),
    [
        ("sources/registry.py", []),
        ("sources/layout.py", ["DownloadImages folder", "PictureShard folder"]),
        ("sources/understood.py", ["DownloadImages folder", "PictureShard folder"]),
        # Lists of addresses have columns for group and side, as tables of files do.
        (
            "sources/table.py",
            [f"{s} {n}" for s in ("DownloadImages", "PictureShard") for n in ("urls", "folder")],
        ),
        ("sources/collection.py", [f"DownloadImages {name}" for name in registry.SOURCES]),
        ("dataset/curation.py", []),
        ("dataset/cleaning.py", ["SplitDataset"]),
        ("training/heads.py", ["TrainModel"]),
        ("training/cross_validation.py", ["TrainModel"]),
        ("training/linear_head.py", ["TrainModel", "EvaluateModel", "ExportModel"]),
        ("training/recipes.py", ["TrainModel"]),
        ("training/choosing.py", ["TrainModel"]),
        ("export/quantization.py", ["ExportModel"]),
        ("export/tracking.py", []),
        ("deployment/gate.py", ["DeployApp"]),
        ("../tasks/__init__.py", []),
        ("sources/checking.py", OF_PICTURES),
        ("../tasks/shard.py", [*OF_PICTURES, "SplitDataset"]),
        ("../tasks/download.py", [name for name in OF_PICTURES if name.startswith("DownloadImages")]),
        ("../tasks/train.py", ["TrainModel"]),
        ("../tasks/deploy.py", ["DeployApp"]),
    ],
)
def test_an_edit_of_what_one_stage_alone_does(stale_after_edit, file, names):
    assert stale_after_edit(file) == names
