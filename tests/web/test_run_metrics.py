"""What /metrics tells of runs: read once, added to, and bounded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from greenr_luigi import run_history
from greenr_luigi.run_history import Event
from greenr_luigi.serving.state import Refusal, WorkerState
from greenr_luigi.web import metrics, run_metrics
from tests.progress import quiet


def event(kind: Any, name: str, outcome: Any, seconds: float = 1.0, **summary: object) -> Event:
    ended = "2026-11-29T03:00:00+00:00"
    return Event(kind=kind, name=name, outcome=outcome, seconds=seconds, summary=summary, ended=ended)


def told(root: Path) -> dict[str, float]:
    lines = metrics.text(run_metrics.of_runs(root / "releases")).decode().split("\n")
    split = (line.rpartition(" ") for line in lines if line.startswith(("greenr_run", "greenr_stage")))
    return {name: float(value) for name, _, value in split}


def test_a_run_and_its_stages(tmp_path: Path) -> None:
    assert told(tmp_path) == {}, "a store without a pipeline tells of no runs"
    run_history.append(tmp_path, event("stage", "DownloadImages(grass)", "made", 2.5), quiet)
    assert told(tmp_path)["greenr_run_last_success_timestamp_seconds"] == 0, "none has come to its end"
    run_history.append(tmp_path, event("stage", "DownloadImages(=1,)", "failed", 0.5), quiet)
    run_history.append(
        tmp_path, event("run", "DeployApp", "deployed", 60, pictures=300, accuracy=0.75), quiet
    )
    run_history.append(tmp_path, event("run", "DeployApp", "failed", 3), quiet)
    found = told(tmp_path)
    assert found['greenr_stage_duration_seconds_sum{outcome="made",stage="DownloadImages"}'] == 2.5
    assert found['greenr_stage_duration_seconds_count{outcome="failed",stage="DownloadImages"}'] == 1
    assert found['greenr_stage_duration_seconds_count{outcome="refused",stage="DownloadImages"}'] == 0
    assert found['greenr_run_duration_seconds_count{outcome="deployed"}'] == 1
    assert found['greenr_run_duration_seconds_count{outcome="refused"}'] == 0
    assert found["greenr_run_last_duration_seconds"] == 3
    assert found["greenr_run_last_success_timestamp_seconds"] == 1795921200
    assert found['greenr_run_last_timestamp_seconds{outcome="failed"}'] == 1795921200
    assert (found["greenr_run_pictures"], found["greenr_run_error_ratio"]) == (300, 0.25)


def test_what_is_unchanged_is_not_read_again_and_what_was_added_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        run_history.append(tmp_path, event("run", "DeployApp", "unchanged"), quiet)
    there = run_metrics.History(tmp_path / run_history.FILE)
    added: list[Event] = []
    monkeypatch.setattr(there, "add", added.append)
    there.look()
    there.look()
    assert len(added) == 3
    run_history.append(tmp_path, event("run", "DeployApp", "failed"), quiet)
    there.look()
    assert [each.outcome for each in added[3:]] == ["failed"]


def test_another_file_in_its_place_is_read_anew(tmp_path: Path) -> None:
    for _ in range(5):
        run_history.append(tmp_path, event("run", "DeployApp", "unchanged"), quiet)
    assert told(tmp_path)['greenr_run_duration_seconds_count{outcome="unchanged"}'] == 5
    (tmp_path / run_history.FILE).unlink()
    for _ in range(7):
        run_history.append(tmp_path, event("run", "DeployApp", "refused", 2), quiet)
    found = told(tmp_path)
    assert found['greenr_run_duration_seconds_count{outcome="unchanged"}'] == 0
    assert found['greenr_run_duration_seconds_count{outcome="refused"}'] == 7


def test_of_a_long_history_the_end_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_metrics, "MOST_READ", 2000)
    monkeypatch.setattr(run_metrics, "PIECE", 700)
    for number in range(30):
        run_history.append(tmp_path, event("run", "DeployApp", "unchanged", number), quiet)
    found = told(tmp_path)
    assert 5 < found['greenr_run_duration_seconds_count{outcome="unchanged"}'] < 25
    assert found["greenr_run_last_duration_seconds"] == 29


def test_of_a_long_history_all_workers_tell_the_same_whenever_they_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or counters would go back and forth with who is asked."""
    monkeypatch.setattr(run_metrics, "MOST_READ", 2000)
    first = run_metrics.History(tmp_path / run_history.FILE)
    for number in range(60):
        run_history.append(tmp_path, event("run", "DeployApp", "unchanged", number), quiet)
        later = run_metrics.History(first.path)
        first.look()
        later.look()
        assert first.runs == later.runs
    assert 0 < first.runs["unchanged"][0] < 30


def test_a_line_without_an_end_holds_nothing_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_metrics, "PIECE", 700)
    (tmp_path / run_history.FILE).write_text("x" * 5000)
    assert told(tmp_path)["greenr_run_last_success_timestamp_seconds"] == 0
    run_history.append(tmp_path, event("run", "DeployApp", "deployed", 4), quiet)
    assert told(tmp_path)["greenr_run_last_duration_seconds"] == 4


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=60),
            st.just(b"[" * 5_000),
            st.builds(
                lambda kind, name, outcome, ended, of: json.dumps(
                    {
                        "kind": kind,
                        "name": name,
                        "outcome": outcome,
                        "seconds": 1,
                        "ended": ended,
                        "summary": of,
                    }
                ).encode(),
                st.sampled_from(["run", "stage"]),
                st.text(max_size=200),
                st.sampled_from(["made", "taken", "deployed", "unchanged", "refused", "failed", "?"]),
                st.sampled_from(
                    ["2026-11-29T03:00:00+00:00", "0001-01-01T00:00:00", "never", "9999-12-31T23:59:59"]
                ),
                st.dictionaries(st.sampled_from(["pictures", "accuracy"]), st.integers(-9, 9) | st.text()),
            ),
        )
    )
)
def test_whatever_stands_in_the_file_a_page_comes(tmp_path: Path, lines: list[bytes]) -> None:
    good = b'{"kind":"run","name":"D","outcome":"deployed","seconds":7,"ended":"2026-11-29T03:00:00+00:00"}'
    (tmp_path / run_history.FILE).write_bytes(b"\n".join([*lines, good, b'{"torn']))
    assert told(tmp_path)["greenr_run_last_duration_seconds"] == 7


def test_names_of_stages_are_bounded(tmp_path: Path) -> None:
    there = run_metrics.History(tmp_path)
    for number in range(500):
        there.add(event("stage", f"{'Stage' * 40 if number % 2 else ''}{number}(x)", "made"))
    names = {stage for stage, _ in there.stages}
    assert len(names) <= run_metrics.MOST_STAGES + 1 and "other" in names
    assert max(map(len, names)) == run_metrics.LONGEST_NAME


def test_workers_by_what_they_serve() -> None:
    refused = Refusal("b", "broken", None)
    states = [
        WorkerState(1, 1, "a"),
        WorkerState(2, 1, "a", problem=refused),
        WorkerState(3, 1, problem=refused),
    ]
    found = {sample.labels["release"]: sample.value for sample in run_metrics.of_workers(states).samples}
    assert found == {"current": 1, "earlier": 1, "none": 1}
