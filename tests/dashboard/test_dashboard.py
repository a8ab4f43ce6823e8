"""`greenr dashboard` as a process, with a graph of one small stage that runs under it, in Chromium."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from greenr_luigi import contracts, run_history
from greenr_luigi.dashboard import running
from greenr_luigi.operations import dashboard
from greenr_luigi.run_history import Event
from tests.operations.test_unattended import TOY
from tests.pipeline import free_port
from tests.started import started
from tests.web.browser import chromium

pytestmark = pytest.mark.slow

#: It waits for a file, and has a parameter beside those at their defaults.
COLOUR = """
    colour = luigi.Parameter(default="red", description="What colour.")
    size = luigi.IntParameter(default=3, description="How large.")
"""
STAGE = (
    TOY.replace("import os", "import luigi, os")
    .replace("while True:", "while not pathlib.Path('go').exists():")
    .replace('    role = "deployment"\n', '    role = "deployment"\n' + COLOUR)
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "toy.py").write_text(STAGE)
    config = (
        "[core]\nrpc_retry_wait = 1\nrpc_retry_attempts = 60\n[run]\nretries = 0\n[ServeToy]\nroot = data\n"
    )
    (tmp_path / "luigi.cfg").write_text(f"{config}[dashboard]\nport = {free_port()}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    yield tmp_path
    greenr("dashboard", "stop")


def command(*words):
    return [sys.executable, "-m", "greenr_luigi.cli", "--module", "toy", *words]


def greenr(*words):
    return subprocess.run(command(*words), capture_output=True, text=True)


def start():
    done = greenr("dashboard")
    assert done.returncode == 0, done.stderr
    return running.running(Path("data"))


def get(url, **headers):
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:
        return answer.read().decode()


def tasks(url, status=""):
    data = urllib.parse.quote(json.dumps({"status": status, "upstream_status": ""}))
    return json.loads(get(f"{url}/api/task_list?data={data}"))["response"]


def until(what, seconds=60):
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


@contextlib.contextmanager
def run_under_way(words="waits", *options):
    """A run that waits in its stage until there is a file `go`."""
    Path("do").write_text(words)
    with started(command("run", *options)) as process:
        try:
            yield process
        finally:
            Path("go").touch()
            if process.returncode is None:
                process.communicate()


def test_a_run_is_seen_as_it_goes_and_its_page_has_log_and_cause(folder):
    url = start().url
    with run_under_way("waits", "--colour", "blue") as run, chromium() as browser:
        (task,) = until(lambda: tasks(url, "RUNNING")).values()
        assert task["params"] == {"colour": "blue"}
        until(lambda: next(iter(tasks(url, "RUNNING").values()))["progress_percentage"] == 50)
        browser.get(url)
        wait = WebDriverWait(browser, 60)
        # In one step: the page draws its table anew now and then.
        link = "const a = document.querySelector(\"td a[href*='/runs/']\"); return a && a.href"
        run_page = wait.until(lambda b: b.execute_script(link))
        assert "colour=blue" in browser.page_source
        assert browser.find_element(By.LINK_TEXT, "Runs").get_attribute("href") == f"{url}/runs"
        browser.get(
            f"{url}/static/visualiser/index.html#tab=graph&taskId={next(iter(tasks(url)))}&visType=svg"
        )
        browser.refresh()
        drawn = "return (document.querySelector('#graphContainer svg') || document.body).textContent"
        wait.until(lambda b: "ServeToy" in b.execute_script(drawn))
        browser.get(run_page)
        assert "No stage of it has ended yet" in browser.page_source
        browser.find_element(By.LINK_TEXT, "log").click()
        wait.until(lambda b: "--module toy ServeToy" in b.page_source)
        Path("go").touch()
        run.communicate()
        assert run.returncode == 0
        for page, words in (
            ("runs", "no output yet"),
            ("history", "ServeToy"),
            ("tasklist/ServeToy", "no output yet"),
        ):
            browser.get(f"{url}/{page}")
            assert words in browser.page_source, page
    assert {path.stat().st_mode & 0o077 for path in (folder / "data" / "dashboard").iterdir()} == {0}


def test_what_a_stage_says_is_text_in_its_bubble_and_runs_nothing(folder):
    """It names labels, which may be anything."""
    url = start().url
    evil = "<img src=x onerror=window.ran=1>"

    def tell(method, **values):
        data = urllib.parse.urlencode({"data": json.dumps(values)}).encode()
        urllib.request.urlopen(f"{url}/api/{method}", data, timeout=10).close()

    tell("add_task", task_id="a", worker="w", status="RUNNING", family="A", params={"label": evil})
    tell("set_task_status_message", task_id="a", status_message="begins")
    with chromium() as browser:
        browser.get(url)
        wait = WebDriverWait(browser, 60)
        click = "const b = document.querySelector('td .statusMessage'); b && b.click(); return b"
        wait.until(lambda b: b.execute_script(click))
        tell("set_task_status_message", task_id="a", status_message=f"{evil}: 8 pictures")
        said = "return (document.querySelector('#statusMessageModal pre') || document.body).textContent"
        wait.until(lambda b: b.execute_script(said) == f"{evil}: 8 pictures")
        # Nor would it, did it stand in the page itself.
        browser.execute_script(
            "document.body.insertAdjacentHTML('beforeend', arguments[0]);"
            "document.body.lastChild.addEventListener('error', () => window.failed = 1)",
            evil,
        )
        wait.until(lambda b: b.execute_script("return window.failed"))
        assert browser.execute_script("return window.ran") is None


def test_a_run_can_be_read_on_a_phone(folder):
    """Why a stage ran once stood there a letter a line."""
    words = "the source may have new pictures, and they were last looked for a day ago"
    event = Event(
        kind="stage", name="DownloadImages(dandelion)", outcome="made", seconds=80, because=words, run="r"
    )
    (folder / "data").mkdir()
    contracts.append_log(folder / "data" / run_history.FILE, event)
    url = start().url
    with chromium() as browser:
        for width in (390, 1280):
            size = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width == 390}
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            browser.get(f"{url}/runs/r")
            right, wide = browser.execute_script(
                "const cell = document.querySelector('.run td:last-child').getBoundingClientRect();"
                "return [cell.right, cell.width]"
            )
            assert right <= width and wide > 300, (width, right, wide)


def test_no_page_asks_another_host(folder):
    url = start().url
    with chromium() as browser:
        for page in ("", "/history", "/history/by_name/x", "/tasklist", "/runs"):
            browser.get(url + page)
            names = browser.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
            assert names, page
            # What the policy refuses may stand there, too: Luigi's style asks for letters of Google's.
            elsewhere = [name for name in names if not name.startswith((url, "data:"))]
            assert not [name for name in elsewhere if "//fonts.googleapis.com/" not in name], elsewhere
            with urllib.request.urlopen(url + page, timeout=10) as answer:
                policy = answer.headers["Content-Security-Policy"]
            assert policy.startswith(("default-src 'self'", "default-src 'none'")) and "//" not in policy


def test_what_it_knows_outlives_a_kill_and_a_run_goes_on(folder):
    found = start()
    with run_under_way() as run:
        (before,) = until(lambda: tasks(found.url, "RUNNING"))
        state = folder / "data" / "dashboard" / "state"
        until(
            lambda: (
                state.exists() and before.encode() in state.read_bytes() and b"RUNNING" in state.read_bytes()
            )
        )
        os.kill(found.pid, signal.SIGKILL)
        until(lambda: running.running(folder / "data") is None)
        again = start()
        assert again.pid != found.pid
        assert before in tasks(again.url)
        Path("go").touch()
        run.communicate()
        assert run.returncode == 0
        assert tasks(again.url)[before]["status"] == "DONE"


def test_without_one_a_run_schedules_by_itself(folder):
    (folder / "do").write_text("")
    assert greenr("run").returncode == 0
    assert "no dashboard was running" in greenr("dashboard", "stop").stdout


def test_a_second_says_so_and_a_port_in_use_says_by_whom(folder):
    found = start()
    again = greenr("dashboard")
    assert (again.returncode, f"runs already (process {found.pid})" in again.stdout) == (0, True)
    second = greenr("dashboard", "--stay")
    assert (second.returncode, "runs already: held" in second.stderr) == (1, True), second.stderr
    other = greenr("--root", "elsewhere", "dashboard")
    assert (other.returncode, f"process {found.pid} (" in other.stderr) == (1, True), other.stderr
    assert greenr("dashboard", "stop").stdout == "stopped\n"
    assert running.running(folder / "data") is None


def test_where_it_is_nginx_and_a_run_know_from_it(folder):
    """Whatever luigi.cfg says by then."""
    port = free_port()
    (folder / "luigi.cfg").write_text((folder / "luigi.cfg").read_text() + "host = 127.0.0.2\n")
    assert greenr("dashboard", "--port", str(port)).stdout.startswith(f"http://127.0.0.2:{port} ")
    (folder / "luigi.cfg").write_text("[run]\nretries = 0\n[ServeToy]\nroot = data\n")
    with run_under_way():
        until(lambda: tasks(f"http://127.0.0.2:{port}", "RUNNING"))
    assert dashboard.address(Path("data"), "tasks") == f"http://127.0.0.2:{port}"
    greenr("dashboard", "stop")
    assert dashboard.address(Path("data"), "tasks") == "http://127.0.0.1:8082"


def test_systemd_is_told_once_it_answers(folder):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind("notify")
        systemd.settimeout(60)
        environment = {**os.environ, "NOTIFY_SOCKET": str(folder / "notify")}
        with subprocess.Popen(command("dashboard", "--stay"), env=environment) as process:
            try:
                assert systemd.recv(100) == b"READY=1"
                assert get(f"{running.running(Path('data')).url}/runs")
            finally:
                process.terminate()
        assert process.returncode == 0


def test_one_that_does_not_come_up_leaves_no_record_of_another(folder):
    """By which somebody else's process could be ended."""
    killed = start()
    os.kill(killed.pid, signal.SIGKILL)
    until(lambda: running.running(folder / "data") is None)
    (folder / "data" / "dashboard" / "history.sqlite").write_text("no history " * 99)
    refused = greenr("dashboard")
    assert (refused.returncode, "no history can be read" in refused.stderr) == (1, True), refused.stderr
    assert not (folder / "data" / "dashboard" / running.RECORD).exists()


def test_it_answers_to_its_own_names_and_shows_labels_as_text(folder):
    event = Event(
        kind="stage", name="Toy(<b>x</b>)", outcome="failed", seconds=1, because="<script>x</script>"
    )
    (folder / "data" / "logs").mkdir(parents=True)
    (folder / "data" / "logs" / "secret").write_text("s")
    contracts.append_log(folder / "data" / run_history.FILE, event)
    url = start().url
    page = get(f"{url}/runs")
    assert "&lt;script&gt;" in page and "<script" not in page and "<b>" not in page
    # Read anew when a line is added; a line that is not as we write it spoils no other.
    for accuracy in ("high", [1], 10**400, 0.97):
        summary = {"accuracy": accuracy, "pictures": 31}
        run = Event(kind="run", name="Toy", outcome="deployed", seconds=1, run="r", summary=summary)
        contracts.append_log(folder / "data" / run_history.FILE, run)
        assert get(f"{url}/runs").count("31 pictures") == (accuracy == 0.97), accuracy
    asked = urllib.request.Request(f"{url}/runs/r", method="HEAD")
    with urllib.request.urlopen(asked, timeout=10) as answer:
        assert int(answer.headers["Content-Length"]) == len(get(f"{url}/runs/r").encode())
    for path in ("/runs/log/secret", "/runs/log/..%2Fhistory.jsonl", "/runs/report/..", "/runs/0000"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            get(url + path)
    for path, headers in (
        ("/runs", {"Host": "evil.example"}),
        ("/api/task_list", {"Host": "evil.example"}),
        ("/api/task_list", {"Sec-Fetch-Site": "cross-site"}),
    ):
        with pytest.raises(urllib.error.HTTPError, match="403"):
            get(url + path, **headers)
    assert get(f"{url}/runs", Host=socket.gethostname())
