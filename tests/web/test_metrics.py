"""Counters that never take more room than was reserved for them."""

from __future__ import annotations

import http
from pathlib import Path
from typing import get_args

import pytest
from prometheus_client.mmap_dict import MmapedDict, mmap_key

from greenr_luigi.web import app, metrics
from greenr_luigi.web.problem import Code
from greenr_luigi.web.settings import Settings


def test_all_that_a_worker_can_count_fits(tmp_path: Path) -> None:
    """A mapped file that grows has no room on a full disk, and whoever writes there is ended by the kernel."""
    routes = [*(getattr(route, "path", "") for route in app.routes(Settings(tmp_path))), "other"]
    statuses, methods = [str(status.value) for status in http.HTTPStatus], [*metrics.METHODS, "other"]
    counters = [
        *(
            ("greenr_requests", ["route", "method", "status"], [route, method, status])
            for route in routes
            for method in methods
            for status in statuses
        ),
        *(("greenr_pictures", ["outcome"], [code]) for code in get_args(Code)),
    ]
    buckets = [
        ("greenr_request_seconds_bucket", ["route", "le"], [route, f"{number}.25"])
        for route in routes
        for number in range(16)
    ]
    for kind, rows in (("counter", counters), ("histogram", buckets)):
        path = tmp_path / f"{kind}_0.db"
        metrics._reserve(path, metrics.ROOM[kind])
        counted = MmapedDict(str(path))  # type: ignore[no-untyped-call]
        for name, labels, values in rows:
            counted.write_value(mmap_key(name, f"{name}_total", labels, values, "h" * 60), 1.0, 0.0)
        counted.close()
        assert path.stat().st_size == metrics.ROOM[kind], f"{kind}: {len(rows)}"


def test_without_room_nothing_is_left_and_nothing_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "FOLDER", str(tmp_path))
    place = metrics.Place()
    assert not place.counts(), "it has no place yet"
    monkeypatch.setattr(metrics, "ROOM", {"counter": 1 << 60})
    place.take(3)
    assert not place.counts() and [*tmp_path.iterdir()] == []
    monkeypatch.setattr(metrics, "ROOM", {"counter": 1 << 16})
    assert not place.counts(), "it looks again after a minute"
    place.retry_at = 0.0
    assert place.counts() and [path.name for path in tmp_path.iterdir()] == ["counter_3.db"]
