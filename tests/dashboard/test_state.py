import os
import pickle

import pytest
from luigi.scheduler import Scheduler

from greenr_luigi.dashboard.state import SavedState, sealed


def scheduler(path):
    made = Scheduler()
    collector, made._state = made._state._metrics_collector, SavedState(path)
    made._state._metrics_collector = collector
    made.load()
    return made


def test_a_state_is_read_back(tmp_path):
    path = tmp_path / "state"
    first = scheduler(path)
    first.add_task(worker="w", task_id="a", family="A", params={"x": "1"}, deps=["b"])
    first.add_task(worker="w", task_id="b", family="B", runnable=True)
    assert first.get_work(worker="w")["task_id"] == "b"
    first.dump()
    second = scheduler(path)
    assert second.task_list("", "") == first.task_list("", "")
    second.add_task(worker="w", task_id="b", status="DONE")
    assert second.get_work(worker="w")["task_id"] == "a"


class Harm:
    def __reduce__(self):
        return os.system, ("touch harmed",)


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"\x80", b"nothing", pickle.dumps(({}, {}, {}))),
        *map(sealed, [b"", pickle.dumps(3), pickle.dumps(({"a": Harm()}, {}, {}))]),
    ],
)
def test_what_is_no_state_counts_as_none_and_runs_nothing(tmp_path, monkeypatch, data):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "state").write_bytes(data)
    assert scheduler(tmp_path / "state").task_list("", "") == {}
    assert not (tmp_path / "harmed").exists()


def test_a_state_of_which_a_bit_is_another_counts_as_none(tmp_path):
    """Whatever it says by then: one may ask for any amount of memory."""
    path = tmp_path / "state"
    first = scheduler(path)
    first.add_task(worker="w", task_id="a", family="A", params={"x": "1"}, deps=["b"])
    first.dump()
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        damaged = SavedState(path)
        damaged.load()
        assert not [*damaged.get_active_tasks()], place
