"""The units that `greenr schedule install --systemd` writes, as systemd reads them. On a machine that it runs:
test_systemd."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from greenr_luigi.errors import GreenrError
from greenr_luigi.operations import unit_texts, units
from greenr_luigi.operations.plan import Plan, plan


@pytest.fixture
def folder(tmp_path, monkeypatch):
    made = tmp_path / '50% o\'clock "q" $HOME \\'
    made.mkdir()
    (made / "luigi.cfg").write_text("")
    monkeypatch.setenv("LUIGI_CONFIG_PATH", str(made / "luigi.cfg"))
    return made


def written(folder, to, at=None):
    planned = replace(plan(folder, Path("data"), ['--root=100% $HOME \\ "'], at), dashboard=True)
    texts = unit_texts.texts(planned)
    for name, text in texts.items():
        (to / name).write_text(text)
    return [str(to / name) for name in texts]


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="no systemd-analyze: apt-get install systemd"
)
@pytest.mark.parametrize("system", [True, False])
def test_systemd_takes_them_without_a_word(folder, tmp_path, monkeypatch, system):
    monkeypatch.setattr(unit_texts, "is_system", lambda: system)
    command = ["systemd-analyze", "verify", "--man=no", *([] if system else ["--user"])]
    environment = {"XDG_RUNTIME_DIR": str(tmp_path), "PATH": "/usr/bin:/bin"}
    told = subprocess.run(
        [*command, *written(folder, tmp_path)], env=environment, text=True, capture_output=True
    )
    assert (told.returncode, told.stdout + told.stderr) == (0, "")


def test_times_that_a_person_has_edited_are_kept_until_another_is_asked_for(folder):
    edited = "[Timer]\nOnCalendar=Mon 05:00\nOnCalendar=Fri 06:00\nPersistent=true\n"
    for at, times in ((None, ["Mon 05:00", "Fri 06:00"]), ("4:17", ["*-*-* 04:17:00"])):
        _, timer, _ = unit_texts.texts(plan(folder, Path("data"), [], at), edited).values()
        assert [line[11:] for line in timer.splitlines() if line.startswith("OnCalendar=")] == times


def test_they_run_as_who_owns_the_folder_and_none_but_root_has_capabilities(folder, monkeypatch):
    monkeypatch.setattr(unit_texts, "is_system", lambda: True)
    for owner in (0, 1000):
        monkeypatch.setattr(unit_texts, "owner_of", lambda _, owner=owner: owner)
        planned = replace(plan(folder, Path("data"), [], None), dashboard=True)
        run, _, *staying = unit_texts.texts(planned).values()
        assert f"\nUser={owner}\n" in run and len(staying) == 2
        for unit in staying:
            assert f"\nUser={owner}\n" in unit and ("\nCapabilityBoundingSet=\n" in unit) == (owner != 0)


@pytest.mark.parametrize("where", ["folder", "root", "program", None])
def test_the_page_has_a_tmp_of_its_own_unless_it_needs_what_lies_there(monkeypatch, where):
    lies = {name: "/tmp/a place" if name == where else "/srv" for name in ("folder", "root", "program")}
    monkeypatch.setattr(unit_texts, "PACKAGE", Path("/srv/greenr_luigi"))
    monkeypatch.setattr(unit_texts, "is_system", lambda: True)
    monkeypatch.setattr(unit_texts, "owner_of", lambda _: 0)
    told = Plan(Path(lies["folder"]), Path(lies["root"]), [f"{lies['program']}/python"], {}, 4, 17)
    page = unit_texts.texts(told)[f"{unit_texts.name_of(told.folder)}-page.service"]
    assert ("\nPrivateTmp=yes\n" in page, "\nReadWritePaths=/tmp /var/tmp\n" in page) == (
        not where,
        bool(where),
    )


@pytest.mark.parametrize("name", ["a\nb", "a\tb", "a\udc80b"])
def test_a_folder_that_no_unit_can_name(tmp_path, monkeypatch, name):
    monkeypatch.setenv("LUIGI_CONFIG_PATH", "luigi.cfg")
    (tmp_path / name).mkdir()
    with pytest.raises(GreenrError, match="no way to name such a folder"):
        unit_texts.texts(plan(tmp_path / name, Path("data"), [], None))


def test_only_its_own_are_removed(folder, tmp_path, monkeypatch):
    """Also where systemd does not run any more."""
    place = tmp_path / "units"
    monkeypatch.setattr(units, "_folder", lambda: place)
    monkeypatch.setattr(units, "BOOTED", tmp_path / "none")
    (place / "timers.target.wants").mkdir(parents=True)
    run, timer, page, dashboard = map(Path, written(folder, place))
    names = (timer.name, dashboard.name, "greenr-other.timer")
    links = [place / "timers.target.wants" / name for name in names]
    for link in links:
        link.symlink_to(place / link.name)
    page.write_text("# mine\n")
    assert units.installed(folder).splitlines()[:3] == [str(run), str(timer), str(dashboard)]
    assert units.remove(folder) and not units.remove(folder)
    assert sorted(path for path in place.rglob("*") if not path.is_dir()) == sorted([page, links[-1]])
