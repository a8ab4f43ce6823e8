"""docs/architecture.md names what there is."""

import re

from tests.pipeline import REPOSITORY

TEXT = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_every_room_has_its_paragraph_and_every_paragraph_a_room():
    rooms = {path.parent.name for path in REPOSITORY.glob("greenr_luigi/*/__init__.py")}
    assert set(re.findall(r"^\*\*`(\w+)/`\*\*", TEXT, re.M)) == rooms


def test_every_module_at_the_top_is_named():
    modules = {path.stem for path in REPOSITORY.glob("greenr_luigi/*.py")} - {"__init__"}
    named = TEXT.partition("**Modules at the top**")[2].partition("\n\n")[0]
    assert modules <= set(re.findall(r"`(\w+)`", named))


def test_the_contracts_are_where_it_says():
    dotted = re.findall(r"`([a-z]+\.[a-z_]+)\.([A-Z]\w+)`", TEXT)
    assert len(dotted) > 10
    for module, name in dotted:
        text = (REPOSITORY / "greenr_luigi" / f"{module.replace('.', '/')}.py").read_text()
        assert re.search(rf"^(class )?{name}\b", text, re.M), f"{module}.{name}"


def test_an_init_imports_nothing():
    for path in REPOSITORY.glob("greenr_luigi/**/__init__.py"):
        assert not re.search(r"^\s*(import|from) ", path.read_text(), re.M), path
