"""The grid in a real browser: choosing by mouse, keys and fingers, and what becomes of it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from greenr_luigi.dataset import curation, decisions
from tests.review.collected import Collected
from tests.web import browser

pytestmark = pytest.mark.slow

SHOTS = os.environ.get("GREENR_TEST_SHOTS")
SERVE = """
import json
import sys
from pathlib import Path
from greenr_luigi.review import cases, page
from greenr_luigi.review.catalogue import Catalogue, Places
root, dataset, evaluation = map(Path, sys.argv[1:4])
folders = {label: Path(folder) for label, folder in json.loads(sys.argv[4]).items()}
ran = lambda: (root / "ran").exists()
trained = (dataset, evaluation) if dataset.exists() else ()
places = lambda: Places({"dandelion": folders["dandelion"]}) if ran() else Places(folders, *trained)
page.serve(cases.Review(root, [], []), 0, Catalogue(places, ran))
"""


@contextlib.contextmanager
def serving(place: Collected) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    folders = {label: str(folder) for label, folder in place.folders.items()}
    places = map(str, (place.root, place.dataset, place.evaluation))
    command = [sys.executable, "-u", "-c", SERVE, *places, json.dumps(folders)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = re.search(r"http://\S+/grid", process.stdout.readline())
        assert found
        try:
            yield found[0], process
        finally:
            process.send_signal(signal.SIGINT)


@pytest.fixture
def place(tmp_path: Path) -> Collected:
    return Collected(tmp_path, 200)


@pytest.fixture
def address(place: Collected) -> Iterator[str]:
    with serving(place) as (address, _):
        yield address


@pytest.fixture(scope="module")
def chrome() -> Iterator[webdriver.Chrome]:
    with browser.chromium(1280, 900) as driver:
        yield driver


class Grid:
    """The page as a person has it before them."""

    def __init__(self, driver: webdriver.Chrome, address: str, query: str = "") -> None:
        self.driver = driver
        browser.resize(driver, 1280, 900)
        driver.get(address + query)
        self.loaded()
        # The policy forbids what a page would inject; this comes from outside the page.
        script = (
            "window.clicks = 0; addEventListener('pointerdown', (e) => e.isTrusted && window.clicks++, true)"
        )
        driver.execute_cdp_cmd("Runtime.evaluate", {"expression": script})

    def loaded(self) -> None:
        self.wait("document.querySelector('#wall').getAttribute('aria-busy') === 'false'")

    def js(self, expression: str) -> Any:
        return self.driver.execute_script(f"return {expression}")

    def wait(self, expression: str) -> None:
        WebDriverWait(self.driver, 60).until(lambda _: self.js(expression), expression)

    @property
    def status(self) -> str:
        return str(self.driver.find_element(By.ID, "status").text)

    def says(self, words: str) -> None:
        WebDriverWait(self.driver, 60).until(lambda _: words in self.status, words)

    def complains(self, words: str) -> None:
        problem = self.driver.find_element(By.ID, "problem")
        WebDriverWait(self.driver, 60).until(lambda _: words in problem.text, words)

    def cell(self, index: int) -> Any:
        """Scrolled to."""
        self.driver.execute_script(
            "const wall = document.querySelector('#wall'), size = document.querySelector('.cell').offsetWidth + 8;"
            "const columns = Math.round((wall.clientWidth + 8) / size);"
            "scrollTo(0, wall.offsetTop + Math.floor(arguments[0] / columns) * size - 60)",
            index,
        )
        self.wait(f"document.querySelector('#cell-{index}')")
        return self.driver.find_element(By.ID, f"cell-{index}")

    def click(self, index: int, *held: str) -> None:
        chain = ActionChains(self.driver)
        for key in held:
            chain.key_down(key)
        chain.click(self.cell(index))
        for key in held:
            chain.key_up(key)
        chain.perform()

    def press(self, *keys: str, held: str = "") -> None:
        """To whatever has the focus."""
        chain = ActionChains(self.driver)
        for key in held:
            chain.key_down(key)
        chain.send_keys(*keys)
        for key in held:
            chain.key_up(key)
        chain.perform()

    def button(self, which: str) -> None:
        self.driver.find_element(By.CSS_SELECTOR, f".actions button[data-{which}]").click()

    def choose(self, facet: str, value: str) -> None:
        self.driver.find_element(By.CSS_SELECTOR, f"[name={facet}] option[value={json.dumps(value)}]").click()

    def ids(self) -> list[str]:
        """Of the whole list, in order."""
        query = urllib.parse.urlsplit(self.driver.current_url).query
        return [id for id, _ in self.driver.execute_async_script(
            "fetch(`grid/list?${arguments[0]}`).then((a) => a.json()).then((a) => arguments[1](a.pictures))", query
        )]  # fmt: skip

    def chosen(self) -> set[int]:
        """Of what is in sight."""
        cells = self.driver.find_elements(By.CSS_SELECTOR, ".cell[aria-selected=true]")
        return {int(cell.get_attribute("data-index") or -1) for cell in cells}


def now(place: Collected) -> decisions.Curation:
    return decisions.read_curation(place.root / decisions.FILE)


def short(found: set[str]) -> set[str]:
    return {sha256[:16] for sha256 in found}


def test_of_many_classes_one_that_was_chosen_gets_a_key(tmp_path: Path, chrome: webdriver.Chrome) -> None:
    place = Collected(tmp_path, 3, labels=("dandelion", *(f"class {number:02}" for number in range(11))))
    with serving(place) as (address, _):
        grid = Grid(chrome, address)
        grid.click(0)
        grid.press("1")
        grid.says("No class has the key 1")
        chrome.find_element(By.CSS_SELECTOR, ".actions .menu summary").click()
        chrome.find_element(By.CSS_SELECTOR, ".actions [data-verdict='=class 07']").click()
        grid.says("1 called class 07")
        grid.click(1)
        grid.click(2, Keys.CONTROL)
        grid.press("1")
        grid.says("2 called class 07. U takes it back")
        assert grid.js("document.getElementById('status').offsetHeight") < 25, "one line beside the buttons"
        assert [*now(place).relabelled.values()] == ["class 07"] * 3
        keys = chrome.find_elements(By.CSS_SELECTOR, "#large .menu kbd")
        assert [key.get_attribute("textContent") for key in keys] == ["1"]


def test_a_hundred_are_thrown_out_in_under_twenty_clicks_and_taken_back_in_one(
    place: Collected, address: str, chrome: webdriver.Chrome
) -> None:
    """Five runs of twenty, with others in between."""
    grid = Grid(chrome, address, "?class=grass")
    ids, wanted = grid.ids(), set[str]()
    for number, start in enumerate(range(3, 180, 36)):
        grid.click(start, *([Keys.CONTROL] if number else []))
        grid.click(start + 19, Keys.SHIFT)
        wanted |= {*ids[start : start + 20]}
        grid.says(f"{20 * (number + 1)} of 200 chosen")
    assert len(wanted) == 100 and not (place.root / decisions.FILE).exists()
    grid.button("verdict=reject")
    grid.says("100 thrown out. U takes it back")
    assert short(now(place).rejected) == wanted and grid.js("clicks") == 11 < 20
    assert grid.cell(4).get_attribute("aria-label") == "grass 5, thrown out"
    assert "grass (100)" in grid.js("document.querySelector('[name=class]').selectedOptions[0].text")

    grid.button("do=undo")
    grid.says("taken back: 100 thrown out")
    assert now(place) == decisions.Curation() and grid.js("clicks") == 12
    assert grid.cell(4).get_attribute("aria-label") == "grass 5"


def test_a_run_in_a_row_takes_three_clicks(place: Collected, address: str, chrome: webdriver.Chrome) -> None:
    grid = Grid(chrome, address, "?class=dandelion&sort=oldest")
    ids = grid.ids()
    grid.click(50)
    grid.click(149, Keys.SHIFT)
    assert (
        grid.js("document.querySelectorAll('.cell').length") < 100
    )  # Of 200; what is out of sight is not there.
    grid.button("verdict=reject")
    grid.says("100 thrown out")
    assert short(now(place).rejected) == {*ids[50:150]} and grid.js("clicks") == 3

    grid.click(0)
    chrome.find_element(By.CSS_SELECTOR, ".actions .menu summary").click()
    chrome.find_element(By.CSS_SELECTOR, ".actions [data-verdict='=grass']").click()
    grid.says("1 called grass")
    assert short(set(now(place).relabelled)) == {ids[0]} and not grid.js(
        "document.querySelector('.menu[open]')"
    )


def test_by_keys_alone(place: Collected, address: str, chrome: webdriver.Chrome) -> None:
    grid = Grid(chrome, address, "?class=grass")
    ids = grid.ids()
    for _ in range(20):
        grid.press(Keys.TAB)
        if grid.js("document.activeElement.id") == "wall":
            break
    active = (
        "document.getElementById(document.activeElement.getAttribute('aria-activedescendant')).dataset.index"
    )
    columns = grid.js(
        "Math.round((wall.clientWidth + 8) / (document.querySelector('.cell').offsetWidth + 8))"
    )
    assert grid.js(active) == "0"
    grid.press(Keys.ARROW_DOWN, Keys.ARROW_RIGHT)
    assert grid.js(active) == str(columns + 1) and grid.chosen() == set()
    grid.press(Keys.SPACE)
    grid.press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, held=Keys.SHIFT)
    assert grid.chosen() == {columns + 1, columns + 2, columns + 3} and "3 of 200 chosen" in grid.status
    grid.press(Keys.ARROW_LEFT, held=Keys.SHIFT)
    grid.press("1")
    grid.says("2 called dandelion. U takes it back")
    assert short(set(now(place).relabelled)) == {*ids[columns + 1 : columns + 3]}
    assert set(now(place).relabelled.values()) == {"dandelion"}
    # Nothing is chosen any more: a key is about the picture that has the focus, and the next one gets it.
    grid.press("x")
    grid.says("1 thrown out")
    assert short(now(place).rejected) == {ids[columns + 2]} and grid.js(active) == str(columns + 3)
    grid.press("z", held=Keys.CONTROL)
    grid.says("taken back: 1 thrown out")
    grid.press("u")
    grid.says("taken back: 2 called dandelion")
    assert now(place) == decisions.Curation()

    grid.press(Keys.END, held=Keys.CONTROL)
    grid.wait(f"{active} === '199'")
    assert grid.js("document.querySelector('.cell.active').getBoundingClientRect().bottom") <= grid.js(
        "document.querySelector('.actions').getBoundingClientRect().top"
    )
    grid.press(Keys.ENTER)
    grid.wait(
        "document.querySelector('#large').open && document.querySelector('#large img').naturalWidth > 0"
    )
    assert "grass, 200 of 200" in grid.js("document.querySelector('#large').innerText")
    grid.press(Keys.ARROW_LEFT, "k")
    grid.wait("document.querySelector('#large').innerText.includes('1 kept as they are')")
    assert short(now(place).kept) == {ids[198]}
    grid.press(Keys.ESCAPE)
    assert (
        not grid.js("document.querySelector('#large').open")
        and grid.js("document.activeElement.id") == "wall"
    )

    grid.press("a", held=Keys.CONTROL)
    grid.says("200 of 200 chosen")
    grid.press(Keys.ESCAPE)
    grid.says("200 pictures")
    grid.press("x", held=Keys.CONTROL)
    assert now(place).rejected == set()


def test_a_key_in_haste_is_about_the_picture_that_is_shown(
    place: Collected, address: str, chrome: webdriver.Chrome
) -> None:
    grid = Grid(chrome, address, "?class=grass")
    ids = grid.ids()
    grid.js("wall.focus()")
    slow = {"offline": False, "latency": 500, "downloadThroughput": -1, "uploadThroughput": -1}
    chrome.execute_cdp_cmd("Network.enable", {})
    chrome.execute_cdp_cmd("Network.emulateNetworkConditions", slow)
    try:
        grid.press("x", "x", Keys.ARROW_RIGHT, "k")
        WebDriverWait(chrome, 60).until(lambda _: now(place).kept)
        assert short(now(place).rejected) == {*ids[:2]} and short(now(place).kept) == {ids[3]}
        grid.says("1 kept as they are")

        grid.press(Keys.ENTER)
        grid.wait("document.querySelector('#large').open")
        grid.press("x", "x")
        WebDriverWait(chrome, 60).until(lambda _: len(now(place).rejected) == 4)
        assert short(now(place).rejected) == {*ids[:2], *ids[4:6]}
        assert "grass, 7 of 200" in grid.js("document.querySelector('#large').innerText")
        grid.press(Keys.ESCAPE)

        # What is chosen while an answer is awaited stays, and a key pressed twice is pressed once.
        grid.click(10)
        grid.click(14, Keys.SHIFT)
        grid.press("x", "x")
        grid.click(20)
        grid.wait("document.querySelector('[data-do=undo]').title === '5 thrown out'")
        grid.press("k")
        grid.wait("document.querySelector('[data-do=undo]').title === '1 kept as they are'")
        assert short(now(place).rejected) == {*ids[:2], *ids[4:6], *ids[10:15]}
        assert short(now(place).kept) == {ids[3], ids[20]}
    finally:
        chrome.execute_cdp_cmd("Network.emulateNetworkConditions", {**slow, "latency": 0})


def test_long_names_and_those_read_from_the_right_have_room(tmp_path: Path, chrome: webdriver.Chrome) -> None:
    right = "\u05e9\u05df \u05d4\u05d0\u05e8\u05d9"
    inside = """[...document.querySelectorAll('.menu[open] > div, .menu[open] button')].every((each) => {
      const box = each.getBoundingClientRect();
      return box.left >= 0 && box.right <= innerWidth && each.scrollWidth <= each.clientWidth; })"""
    with serving(Collected(tmp_path, 20, labels=("a name of many words " * 9 + "M" * 60, right))) as (
        address,
        _,
    ):
        for width in (1280, 700, 390):
            grid = Grid(chrome, address, "?class=" + urllib.parse.quote(right))
            browser.resize(chrome, width, 844)
            chrome.find_element(By.CSS_SELECTOR, ".actions .menu summary").click()
            assert grid.js(inside) and grid.js("document.documentElement.scrollWidth <= innerWidth"), width
            end = "document.querySelector('.actions').getBoundingClientRect().bottom"
            assert grid.js(end) == pytest.approx(844, abs=1)
            grid.press(Keys.ENTER)
            grid.click(0)
            grid.press(Keys.ENTER)
            grid.wait("document.querySelector('#large').open")
            chrome.find_element(By.CSS_SELECTOR, "#large .menu summary").click()
            assert grid.js(inside), width
            said = grid.js("document.querySelector('#large p').textContent")
            assert f"\u2068{right}\u2069, 1 of 20" in said
        option = grid.js("document.querySelector('[name=class]').selectedOptions[0].text")
        assert option == f"\u2068{right}\u2069 (20)"


def test_a_band_chooses_what_it_touches(place: Collected, address: str, chrome: webdriver.Chrome) -> None:
    grid = Grid(chrome, address)
    first, last = grid.cell(0), grid.driver.find_element(By.ID, "cell-9")
    chain = ActionChains(chrome).move_to_element_with_offset(first, 20, 20).click_and_hold()
    chain.move_to_element(last).release().perform()
    columns = grid.js(
        "Math.round((wall.clientWidth + 8) / (document.querySelector('.cell').offsetWidth + 8))"
    )
    assert grid.chosen() == {0, 1, 2, columns, columns + 1, columns + 2} and columns == 7
    grid.click(4, Keys.CONTROL)
    grid.click(0, Keys.CONTROL)
    assert grid.chosen() == {1, 2, 4, 7, 8, 9}
    grid.click(5)
    assert grid.chosen() == {5}
    ActionChains(chrome).double_click(grid.cell(5)).perform()
    grid.wait("document.querySelector('#large').open")


def test_the_address_holds_what_is_shown(place: Collected, address: str, chrome: webdriver.Chrome) -> None:
    grid = Grid(chrome, address)
    grid.choose("class", "grass")
    grid.says("200 pictures")
    grid.choose("why", "doubtful")
    grid.says("3 pictures")
    assert chrome.current_url == f"{address}?class=grass&why=doubtful"
    order = "document.querySelector('[name=sort]').selectedOptions[0].text"
    assert grid.js(order) == "most doubtful first (usual)"
    chrome.back()
    grid.says("200 pictures")
    assert grid.js(order) == "newest first (usual)"
    assert chrome.current_url == f"{address}?class=grass"
    assert grid.js("document.querySelector('[name=why]').value") == ""
    chrome.forward()
    grid.says("3 pictures")
    grid.choose("side", "duplicate")
    grid.wait("!document.querySelector('#nothing').hidden")
    assert grid.js("document.querySelector('#wall').hidden")
    chrome.find_element(By.CSS_SELECTOR, "#nothing a").click()
    grid.says("400 pictures")


def test_keys_are_for_the_pictures_once_a_filter_was_chosen_by_mouse(
    place: Collected, address: str, chrome: webdriver.Chrome
) -> None:
    """In a list they would choose what begins so: X no picture, and K another class."""
    grid = Grid(chrome, address)
    grid.choose("class", "grass")
    grid.says("200 pictures")
    grid.press("a", held=Keys.CONTROL)
    grid.says("200 of 200 chosen")
    grid.press("x")
    grid.says("200 thrown out")
    grid.choose("class", "grass")
    grid.choose("why", "doubtful")
    grid.wait("!document.querySelector('#nothing').hidden")
    grid.press("u")
    grid.says("taken back: 200 thrown out")
    # By keys one goes on through the list.
    chrome.find_element(By.NAME, "class").send_keys(Keys.ARROW_UP)
    grid.wait("location.search === '?class=dandelion&why=doubtful'")
    assert grid.js("document.activeElement.name") == "class"


def test_no_button_moves_away_under_the_mouse(
    place: Collected, address: str, chrome: webdriver.Chrome
) -> None:
    grid = Grid(chrome, address)
    for width in (1280, 1000):
        browser.resize(chrome, width, 900)
        lies = "JSON.stringify([...document.querySelectorAll('.actions button')].map((b) => b.getBoundingClientRect()))"
        before = grid.js(lies)
        grid.click(3)
        grid.button("verdict=reject")
        grid.says("1 thrown out. U takes it back")
        assert grid.js(lies) == before
        grid.button("do=undo")
        grid.says("taken back")
        assert grid.js(lies) == before


def test_a_page_that_is_loaded_again_is_as_it_was(
    place: Collected, address: str, chrome: webdriver.Chrome
) -> None:
    grid = Grid(chrome, address, "?class=grass")
    ids = grid.ids()
    grid.click(10)
    grid.button("verdict=reject")
    grid.says("1 thrown out")
    grid.click(150)
    grid.click(153, Keys.SHIFT)
    chrome.refresh()
    grid.loaded()
    grid.says("4 of 199 chosen")
    assert short(now(place).rejected) == {ids[10]}
    # One fewer is before them.
    assert grid.chosen() == {149, 150, 151, 152}
    # What had left the list comes back into it, and what is chosen stays.
    grid.press("u")
    grid.says("taken back: 1 thrown out")
    assert grid.js("document.querySelector('.cell').getAttribute('aria-setsize')") == "200"
    assert grid.chosen() == {150, 151, 152, 153}


def test_what_was_thrown_out_can_be_had_again(
    place: Collected, address: str, chrome: webdriver.Chrome
) -> None:
    curation.reject(place.root, [row.sha256 for row in place.rows["grass"][:5]])
    grid = Grid(chrome, address, "?said=rejected")
    grid.says("5 pictures")
    grid.button("do=all")
    grid.button("verdict=restore")
    grid.says("5 as if nothing had been said")
    assert now(place).rejected == set()


def test_what_happens_elsewhere_meanwhile_is_said_and_nothing_is_lost(
    place: Collected, address: str, chrome: webdriver.Chrome
) -> None:
    grid = Grid(chrome, address, "?class=grass&sort=oldest")
    ids = grid.ids()
    grid.click(0)
    grid.click(5, Keys.SHIFT)
    other = next(row for row in place.rows["grass"] if row.sha256.startswith(ids[2]))
    curation.relabel(place.root, "dandelion", [other.sha256])
    grid.press("x")
    grid.complains("1 of the 6 were decided elsewhere meanwhile")
    assert now(place).rejected == set() and grid.chosen() == {0, 1, 2, 3, 4, 5}
    assert grid.cell(2).get_attribute("aria-label") == "dandelion 3, now dandelion"
    grid.press("x")
    grid.says("6 thrown out")
    assert short(now(place).rejected) == {*ids[:6]}
    assert grid.js("document.querySelector('#problem').hidden")

    grid.click(6)
    (place.root / "ran").touch()
    grid.press("x")
    grid.complains("1 of the 1 are in no output any more, as a run has finished")
    grid.driver.execute_cdp_cmd("Runtime.evaluate", {"expression": "dispatchEvent(new Event('focus'))"})
    grid.complains("A run has finished meanwhile")
    chrome.find_element(By.CSS_SELECTOR, "#problem a").click()
    grid.wait("!document.querySelector('#nothing').hidden")


def test_a_server_that_has_ended_is_said(place: Collected, chrome: webdriver.Chrome) -> None:
    with serving(place) as (address, process):
        grid = Grid(chrome, address)
        grid.click(3)
        process.send_signal(signal.SIGINT)
        process.wait()
        grid.press("x")
        grid.complains("The page's server has ended")
        assert grid.chosen() == {3}
        # A picture that is decided about alone is turned to again.
        grid.press(Keys.ESCAPE)
        grid.press("x")
        grid.wait("document.querySelector('.cell.active').dataset.index === '3'")


def test_on_a_phone(place: Collected, address: str, chrome: webdriver.Chrome) -> None:
    grid = Grid(chrome, address, "?class=grass")
    browser.resize(chrome, 390, 844)
    chrome.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
    try:
        ids = grid.ids()
        assert grid.js("document.documentElement.scrollWidth") <= 390

        def tap(element: Any) -> None:
            box = chrome.execute_script(
                "const b = arguments[0].getBoundingClientRect(); return [b.x + 9, b.y + 9]", element
            )
            point = [{"x": box[0], "y": box[1]}]
            chrome.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": point})
            chrome.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

        tap(grid.cell(1))
        grid.says("1 of 200 chosen")
        tap(grid.cell(4))
        grid.says("2 of 200 chosen")
        tap(chrome.find_element(By.CSS_SELECTOR, "[data-do=range]"))
        grid.says("The next picture ends the range")
        tap(grid.cell(30))
        grid.says("28 of 200 chosen")
        tap(chrome.find_element(By.CSS_SELECTOR, ".actions [data-verdict=reject]"))
        grid.says("28 thrown out")
        assert short(now(place).rejected) == {ids[1], *ids[4:31]}
    finally:
        chrome.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})


def test_everybody_can_use_it(place: Collected, chrome: webdriver.Chrome, tmp_path: Path) -> None:
    axe = browser.axe(tmp_path)
    chrome.get("about:blank")
    chrome.get_log("browser")  # type: ignore[no-untyped-call]  # What other tests have left.

    def check(name: str) -> None:
        chrome.execute_cdp_cmd("Runtime.evaluate", {"expression": axe})
        found = chrome.execute_async_script("axe.run().then(r => arguments[0](r.violations))")
        assert not found, f"{name}: {json.dumps(found, indent=1)}"
        assert grid.js("document.documentElement.scrollWidth <= innerWidth")
        if SHOTS:
            chrome.save_screenshot(str(Path(SHOTS) / f"grid {name}.png"))

    with serving(place) as (address, _):
        for width, height, scheme in ((1280, 900, "light"), (390, 844, "dark"), (640, 450, "light")):
            media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
            chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
            grid = Grid(chrome, address)
            browser.resize(chrome, width, height)
            grid.click(2)
            grid.press("x")
            grid.says("1 thrown out")
            grid.click(4)
            grid.press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, held=Keys.SHIFT)
            check(f"{width} {scheme}")
            grid.press(Keys.ENTER)
            grid.wait("document.querySelector('#large img').naturalWidth > 0")
            check(f"{width} {scheme} large")
            grid.press(Keys.ESCAPE)
            grid.press("u")
            grid.says("taken back")
            grid.choose("class", "grass")
            grid.choose("side", "duplicate")
            grid.choose("why", "doubtful")
            grid.wait("!document.querySelector('#nothing').hidden")
            check(f"{width} {scheme} nothing")
    with serving(Collected(tmp_path / "empty", 0, trained=False)) as (address, _):
        chrome.get(address)
        assert "There are no pictures yet" in chrome.find_element(By.TAG_NAME, "main").text
        check("empty")
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert not [entry for entry in chrome.get_log("browser") if entry["level"] == "SEVERE"]  # type: ignore[no-untyped-call]
