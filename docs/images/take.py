"""Takes luigid.png, runs.png and review.webp anew, of real runs with drawn pictures: `python -m docs.images.take` as
root, for a folder whose name may be seen; some minutes."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import requests
from PIL import Image
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

import tasks
from tests.pipeline import free_port
from tests.web.browser import chromium, resize

HERE = Path(__file__).resolve().parent
SETTINGS = """\
[DownloadImages]
source = sample
limit = 60
[DeployApp]
port = 0
[run]
retries = 0
[dashboard]
port = {port}
"""
#: What is asked of each run, so that the page of runs has one of each kind.
RUNS = (
    ["--epochs", "20"],
    ["--epochs", "20"],
    ["--classes", "dandelion,grass,daisy"],
    ["--source", "folder", "--folder", "pictures"],
    ["--classes", "dandelion,grass,daisy", "--epochs", "1", "--floor", "1"],
    ["--classes", "dandelion,grass,daisy", "--epochs", "30"],
)
FOLDER = Path("/srv/flowers")
#: Of the page of stages while this one runs; and how many runs are whole on the picture of theirs.
STAGE, SHOWN = "TrainModel", 4
DRAWN = "return document.querySelectorAll('#graphContainer svg text').length"
PLACE = (
    "const b = document.querySelector('#graphContainer').getBoundingClientRect(); return [b.left, b.bottom]"
)
LOADED = "return [...document.querySelectorAll('.cell img')].every((i) => i.complete && i.naturalWidth)"
BOTTOM = f"return document.querySelectorAll('.run')[{SHOWN - 1}].getBoundingClientRect().bottom"


def main() -> None:
    os.environ["PYTHONPATH"] = str(HERE.parents[1])
    greenr = [sys.executable, "-m", "greenr_luigi.cli"]
    port = free_port()
    FOLDER.mkdir()
    os.chdir(FOLDER)
    with chromium(1280, 1000, flags=["--hide-scrollbars"]) as browser:
        Path("luigi.cfg").write_text(SETTINGS.format(port=port))
        subprocess.run([*greenr, "dashboard"], check=True)
        try:
            take_graph(browser, f"http://127.0.0.1:{port}", [*greenr, "run", *RUNS[0]])
            for words in RUNS[1:]:
                subprocess.run([*greenr, "run", *words])
            browser.get(f"http://127.0.0.1:{port}/runs")
            resize(browser, 1200, int(browser.execute_script(BOTTOM)))
            browser.save_screenshot(str(HERE / "runs.png"))
            take_grid(browser, [*greenr, "review", "--port", "0"])
        finally:
            for words in (["stop"], ["dashboard", "stop"]):
                subprocess.run([*greenr, *words])
            shutil.rmtree(FOLDER)


def take_graph(browser, url: str, command: list[str]) -> None:
    """While the stage runs, by the word of luigid before and after."""
    with subprocess.Popen(command) as run:
        while not (started := named(url, STAGE, "RUNNING")):
            assert run.poll() is None, "the stage was over too soon"
            time.sleep(0.1)
        (task,) = named(url, "DeployApp", "PENDING")
        browser.get(f"{url}/static/visualiser/index.html#tab=graph&taskId={task}&visType=svg")
        wait, places = WebDriverWait(browser, 30), [()]
        wait.until(lambda b: b.execute_script(DRAWN) > len(tasks.STAGES))
        # The column at the left moves out of sight.
        wait.until(lambda b: places.append(b.execute_script(PLACE)) or places[-1] == places[-2])
        resize(browser, 1280, int(places[-1][1]) + 30)
        browser.save_screenshot(str(HERE / "luigid.png"))
        assert named(url, STAGE, "RUNNING") == started, "the stage was over too soon"


def take_grid(browser, command: list[str]) -> None:
    """With a row thrown out and some chosen."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as review:
        address = next(line.split()[-1] for line in review.stdout if line.rstrip().endswith("/grid"))
        resize(browser, 1280, 760)
        browser.get(f"{address}?sort=small")  # Of both classes.
        wait = WebDriverWait(browser, 30)
        for first, last in ((7, 8), (2, 4)):
            for held, number in ((Keys.NULL, first), (Keys.SHIFT, last)):
                cell = wait.until(lambda b, number=number: b.find_element(By.ID, f"cell-{number}"))
                ActionChains(browser).key_down(held).click(cell).key_up(held).perform()
            if first == 7:
                browser.find_element(By.CSS_SELECTOR, ".actions [data-verdict=reject]").click()
                wait.until(lambda b: "thrown out" in b.find_element(By.ID, "status").text)
        wait.until(lambda b: b.execute_script(LOADED))
        shot = Image.open(io.BytesIO(browser.get_screenshot_as_png()))
        shot.save(HERE / "review.webp", quality=80, method=6)
        review.send_signal(signal.SIGINT)


def named(url: str, family: str, status: str) -> list[str]:
    """The tasks of a stage that are so."""
    data = json.dumps({"status": status, "upstream_status": ""})
    found = requests.get(f"{url}/api/task_list", params={"data": data}, timeout=30).json()["response"]
    return [name for name, task in found.items() if task["name"] == family]


if __name__ == "__main__":
    main()
