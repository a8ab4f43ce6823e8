"""deploy/prometheus and deploy/grafana against what the page tells: by promtool, and by a real Prometheus."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from greenr_luigi import run_history
from tests import tiny_release
from tests.progress import quiet
from tests.web.conftest import Live
from tests.web.test_run_metrics import event

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("promtool") is None, reason="no promtool: `sh setup.sh test` installs it"
    ),
]

DEPLOY = Path(__file__).resolve().parent.parent.parent / "deploy"
BOARD = json.loads((DEPLOY / "grafana" / "greenr.json").read_text())
QUERIES = [target["expr"] for panel in BOARD["panels"] for target in panel.get("targets", [])]

PAGE = 'job="greenr",instance="page"'
#: An hour in which all is well, a value a minute.
WELL = {
    f"up{{{PAGE}}}": "1x60",
    f'greenr_workers{{{PAGE},release="current"}}': "2x60",
    f'greenr_workers{{{PAGE},release="earlier"}}': "0x60",
    f'greenr_workers{{{PAGE},release="none"}}': "0x60",
    f'greenr_worker_starts_total{{{PAGE},worker="0"}}': "1x60",
    f'greenr_requests_total{{{PAGE},status="200"}}': "0+100x60",
    f'greenr_requests_total{{{PAGE},status="503"}}': "0+1x60",
    f"greenr_run_last_success_timestamp_seconds{{{PAGE}}}": "1000x60",
    f'greenr_run_last_timestamp_seconds{{{PAGE},outcome="refused"}}': "500x60",
    f"greenr_run_error_ratio{{{PAGE}}}": "0.05x30 0.07x30",
    f"greenr_disk_free_bytes{{{PAGE}}}": "50x60",
    f"greenr_disk_size_bytes{{{PAGE}}}": "100x60",
}
#: What is otherwise when an alert must fire.
ILL = {
    "GreenrPageDown": {f"up{{{PAGE}}}": "1x50 0x10"},
    "GreenrNoModel": {
        f'greenr_workers{{{PAGE},release="current"}}': "0x60",
        f'greenr_workers{{{PAGE},release="none"}}': "2x60",
    },
    "GreenrReleaseRefused": {f'greenr_workers{{{PAGE},release="earlier"}}': "0x50 1x10"},
    "GreenrWorkersRestart": {f'greenr_worker_starts_total{{{PAGE},worker="0"}}': "1x50 2+1x10"},
    "GreenrRequestsFail": {f'greenr_requests_total{{{PAGE},status="503"}}': "0+10x60"},
    "GreenrNoGoodRun": {
        f"greenr_run_last_success_timestamp_seconds{{{PAGE}}}": "-260000x420",
        f'greenr_run_last_timestamp_seconds{{{PAGE},outcome="refused"}}': "-260000x420",
    },
    "GreenrModelRefused": {
        f'greenr_run_last_timestamp_seconds{{{PAGE},outcome="refused"}}': "500x50 2000x10"
    },
    "GreenrErrorRises": {f"greenr_run_error_ratio{{{PAGE}}}": "0.05x30 0.11x30"},
    "GreenrDiskNearlyFull": {f"greenr_disk_free_bytes{{{PAGE}}}": "50x30 9x30"},
}


def promtool(*arguments: str | Path, given: bytes = b"") -> None:
    ran = subprocess.run(["promtool", *arguments], input=given, capture_output=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, b""), ran.stdout.decode() + ran.stderr.decode()


def alerts() -> dict[str, str]:
    """The expression of each alert, by its name."""
    rules = (DEPLOY / "prometheus" / "alerts.yaml").read_text()
    found = re.findall(r"- alert: (\w+)\n +expr: (?:>-\n)?((?:.|\n)+?)\n +(?:#|for:|labels:)", rules)
    return {name: " ".join(words.split()) for name, words in found}


def test_each_alert_fires_when_it_must_and_no_other(tmp_path: Path) -> None:
    promtool("check", "rules", DEPLOY / "prometheus" / "alerts.yaml")
    assert sorted(ILL) == sorted(alerts()) and len(ILL) >= 9
    tests = []
    for ill, changed in [("", {}), *ILL.items()]:
        assert changed.keys() <= WELL.keys()
        fires = [{"labels": f'{{alertname="{ill}"}}', "value": 1}] if ill else []
        tests.append(
            {
                "interval": "1m",
                "input_series": [{"series": s, "values": v} for s, v in (WELL | changed).items()],
                "promql_expr_test": [
                    {
                        "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                        "eval_time": "7h" if ill == "GreenrNoGoodRun" else "59m",
                        "exp_samples": fires,
                    }
                ],
            }
        )
    passes(tmp_path / "tests.yaml", tests)


def test_a_first_run_that_is_under_way_is_no_fault_and_none_that_ends_is(tmp_path: Path) -> None:
    """promtool's clock begins in 1970: so the page begins late."""
    late, hours = 80, 20
    series = f"greenr_run_last_success_timestamp_seconds{{{PAGE}}}"

    def firing(hour: int, alerts: int) -> dict[str, Any]:
        samples = [{"labels": "{}", "value": alerts}] if alerts else []
        expression = 'count(ALERTS{alertname="GreenrNoGoodRun",alertstate="firing"})'
        return {"expr": expression, "eval_time": f"{late + hour}h", "exp_samples": samples}

    def run_ends(after: int) -> str:
        return f"_x{late * 15} 0x{after * 15} {(late + after) * 3600}x{hours * 15}"

    tests = [
        {"interval": "4m", "input_series": [{"series": series, "values": values}], "promql_expr_test": asked}
        for values, asked in (
            (run_ends(2), [firing(1, 0), firing(4, 0)]),
            (run_ends(8), [firing(7, 1), firing(9, 0)]),
        )
    ]
    passes(tmp_path / "tests.yaml", tests)


def passes(file: Path, tests: list[dict[str, Any]]) -> None:
    rules = [str(DEPLOY / "prometheus" / "alerts.yaml")]
    file.write_text(json.dumps({"rule_files": rules, "evaluation_interval": "1m", "tests": tests}))
    ran = subprocess.run(["promtool", "test", "rules", file], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.fixture(scope="module")
def prometheus(live: Live, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A Prometheus that has scraped the page some times, by the configuration in deploy/: asks it a query."""
    for _ in range(2):
        run_history.append(live.root, event("stage", "DownloadImages(grass)", "made"), quiet)
        run_history.append(
            live.root, event("run", "DeployApp", "deployed", 9, pictures=300, accuracy=0.9), quiet
        )
    live.post("/api/predict", files={"file": tiny_release.picture()})
    folder = tmp_path_factory.mktemp("prometheus")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = (DEPLOY / "prometheus" / "prometheus.yaml").read_text()
    assert "127.0.0.1:8008" in config and "scrape_interval: 15s" in config
    config = config.replace("127.0.0.1:8008", live.url.removeprefix("http://"))
    (folder / "prometheus.yaml").write_text(config.replace("scrape_interval: 15s", "scrape_interval: 500ms"))
    shutil.copy(DEPLOY / "prometheus" / "alerts.yaml", folder)
    command = ["prometheus", f"--config.file={folder}/prometheus.yaml", f"--storage.tsdb.path={folder}/data"]
    with (folder / "log").open("wb") as log:
        running = subprocess.Popen(
            [*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log
        )
    session = requests.Session()
    session.trust_env = False

    def ask(query: str) -> list[Any]:
        answer = session.get(f"http://127.0.0.1:{port}/api/v1/query", params={"query": query}, timeout=30)
        assert answer.status_code == 200, f"{query}: {answer.text}"
        return list(answer.json()["data"]["result"])

    def scraped() -> bool:
        try:
            # It answers 503 while it reads its storage.
            ready = session.get(f"http://127.0.0.1:{port}/-/ready", timeout=30).status_code == 200
            return ready and bool(ask('count_over_time(up{job="greenr"}[5m]) >= 4'))
        except requests.ConnectionError:
            assert running.poll() is None, (folder / "log").read_text()
            return False

    try:
        deadline = time.monotonic() + 60
        while not scraped():
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.1)
        yield ask
    finally:
        running.terminate()
        running.wait()


def test_the_page_is_as_prometheus_wants_it(live: Live) -> None:
    # Its names are checked, too: units, `_total`, help.
    promtool("check", "metrics", given=live.get("/metrics").content)


def test_each_query_of_the_dashboard_finds_something(prometheus: Any) -> None:
    assert len(QUERIES) > 20
    for query in QUERIES:
        filled = query.replace("$instance", ".*").replace("$__rate_interval", "1m")
        assert "$" not in filled
        assert prometheus(filled), query


def test_each_alert_is_about_something_that_the_page_tells(prometheus: Any) -> None:
    for name, words in alerts().items():
        # With `bool` what does not fire is 0, and what is not there is nothing.
        asked, changed = re.subn(r" (==|>|<) ", r" \1 bool ", words)
        # No request has failed, so there is no series of that status.
        asked = asked.replace('status=~"5.."', 'status=~"..."')
        assert changed == 1 and [found["value"][1] for found in prometheus(asked)], name


def test_a_run_shows_at_the_next_scrape(live: Live) -> None:
    run_history.append(live.root, event("run", "DeployApp", "refused", 123.5), quiet)
    text = live.get("/metrics").text
    assert "greenr_run_last_duration_seconds 123.5\n" in text
    for name in ("greenr_release_info", "greenr_release_created_timestamp_seconds", "greenr_disk_free_bytes"):
        assert f"\n{name}" in text
    assert 'greenr_workers{release="current"} 2.0' in text
    assert re.search(r'greenr_worker_starts_total\{worker="1"\} [1-9]', text)
