import datetime
import sqlite3
import time

import pytest
from luigi.scheduler import DONE, Scheduler

from greenr_luigi.dashboard.history import TaskHistory
from greenr_luigi.dashboard.state import SavedState
from greenr_luigi.errors import GreenrError


@pytest.fixture
def path(tmp_path):
    (tmp_path / "100% Wälder?#x;y").mkdir()
    return tmp_path / "100% Wälder?#x;y" / "history.sqlite"


def rows(path):
    with sqlite3.connect(path) as database:
        tables = ("tasks", "task_parameters", "task_events")
        return [len(database.execute(f"select * from {table}").fetchall()) for table in tables]


def age(path, days, task):
    then = datetime.datetime.now() - datetime.timedelta(days=days)
    with sqlite3.connect(path) as database:
        database.execute(
            "update task_events set ts = ? where task_id = (select id from tasks where task_id = ?)",
            (str(then), task),
        )


def test_what_is_older_is_forgotten_and_a_task_of_before_may_come_again(path):
    history = TaskHistory(path)
    scheduler = Scheduler(task_history_impl=history)
    for task in ("old", "new"):
        scheduler.add_task(worker="w", task_id=task, family="A", params={"x": task})
    assert rows(path) == [2, 2, 2]
    age(path, 91, "old")
    age(path, 89, "new")
    history.forget(90)
    assert (rows(path), [task.task_id for task in history.find_all_runs()]) == ([1, 1, 1], ["new"])
    for task in ("old", "new"):
        scheduler.add_task(worker="w", task_id=task, family="A", params={"x": task}, status=DONE)
    assert rows(path) == [2, 2, 3]
    with history._session() as session:
        assert history.find_task_by_task_id("old", session).events[0].event_name == DONE
    age(path, 2, "new")
    history.forget(1)
    assert (rows(path), [*history.tasks]) == ([1, 1, 1], ["old"])


def test_the_state_is_of_tasks_that_somebody_wants(tmp_path, monkeypatch):
    """Or wanted in the last minutes."""
    scheduler = Scheduler()
    collector, scheduler._state = scheduler._state._metrics_collector, SavedState(tmp_path / "state")
    scheduler._state._metrics_collector = collector
    now = time.time()
    for day in range(3):
        monkeypatch.setattr(time, "time", lambda day=day: now + 86400 * day)
        scheduler.prune()
        monkeypatch.setattr(time, "time", lambda day=day: now + 86400 * day + 3600)
        scheduler.prune()
        for task, status in (("a", DONE), ("b", "FAILED"), ("c", "PENDING")):
            scheduler.add_task(worker=f"w{day}", task_id=f"{task}{day}", family="A", status=status)
        assert {*scheduler.task_list("", "")} == {f"{task}{day}" for task in "abc"}


def test_what_is_no_history_is_named(path):
    path.write_text("nothing of the kind, but longer than a head " * 9)
    with pytest.raises(GreenrError, match=r"no history can be read there .*: move it away"):
        TaskHistory(path)
