"""The page in headless Chromium, as visitors use it, and axe-core's opinion of it."""

from __future__ import annotations

import base64
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image
from selenium import webdriver
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from greenr_luigi.serving import publishing, rollout, server
from tests import tiny_release
from tests.web import browser
from tests.web.conftest import Live

pytestmark = pytest.mark.slow

#: Where screenshots go, for a person to look at.
#: How a photograph of an iPhone begins, whatever its name.
UNREAD = b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(200)
SHOTS = os.environ.get("GREENR_TEST_SHOTS")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures of mine")
    for colour in ("yellow", "green", "gray"):
        (folder / f"{colour}.png").write_bytes(tiny_release.picture(colour, 320, "PNG"))
    (folder / "strange.png").write_bytes(tiny_release.picture(tiny_release.STRANGE, 320, "PNG"))
    for name, size in (("tall", (200, 900)), ("wide", (900, 200)), ("tiny", (40, 60))):
        Image.new("RGB", size, "yellow").save(folder / f"{name}.png")
    (folder / "no picture.jpg").write_bytes(UNREAD)
    return folder


class Pictures(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        data = tiny_release.picture("green", 320)
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[str]:
    """A host on this machine that has pictures."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Pictures) as host:
        thread = threading.Thread(target=host.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{host.server_port}"
        host.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, elsewhere: str) -> Iterator[Live]:
    """A server under /app with feedback on, allowed to fetch from `elsewhere`, its release with pictures."""
    root = tmp_path_factory.mktemp("site")
    exported = tiny_release.export(root / "export")
    tiny_release.evaluation(exported)
    digest = publishing.publish(root / "releases", exported.iterdir())
    rollout.point(root / "releases", digest)
    settings = {
        "GREENR_FEEDBACK": "1",
        "GREENR_FETCH_ALLOW": "127.0.0.1/32",
        "GREENR_FETCH_PORTS": elsewhere.rpartition(":")[2],
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        running = tiny_release.serve(root, digest, workers=2, root_path="/app")
    found = Live(running, root)
    found.url += "/app"
    yield found
    found.session.close()
    server.stop(root / "server")


@pytest.fixture(scope="module")
def chrome() -> Iterator[webdriver.Chrome]:
    with browser.chromium() as driver:
        yield driver


@pytest.fixture(scope="module")
def plain() -> Iterator[webdriver.Chrome]:
    with browser.chromium(javascript=False) as driver:
        yield driver


@pytest.fixture
def page(chrome: webdriver.Chrome, site: Live) -> Iterator[webdriver.Chrome]:
    """A fresh page; its console must stay clean (a blocked style or a missing asset shows there)."""
    browser.resize(chrome, 1200, 900)
    chrome.get(site.url + "/")
    chrome.get_log("browser")
    yield chrome
    bad = [
        line
        for line in chrome.get_log("browser")
        if line["level"] == "SEVERE" and "/api/" not in line["message"]
    ]
    assert not bad


def cards(driver: webdriver.Chrome, count: int) -> list[str]:
    """The headings of the answers, from the top, once none is awaited any more."""

    def ready(_: webdriver.Chrome) -> bool:
        found = driver.find_elements(By.CSS_SELECTOR, "#answers .card")
        return len(found) == count and not any(one.get_attribute("aria-busy") for one in found)

    WebDriverWait(driver, 60, 0.05).until(ready)
    return [one.text for one in driver.find_elements(By.CSS_SELECTOR, "#answers .card h2")]


def shot(driver: webdriver.Chrome, name: str) -> None:
    """Screenshots at the widths of a desk and of a phone, light and dark."""
    if not SHOTS:
        return
    for width, look in ((1200, "light"), (390, "light"), (1200, "dark")):
        browser.resize(driver, width, 900)
        media = {"features": [{"name": "prefers-color-scheme", "value": look}]}
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        full = driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
        Path(SHOTS, f"{name}-{width}-{look}.png").write_bytes(base64.b64decode(full["data"]))
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    browser.resize(driver, 1200, 900)


def choose(driver: webdriver.Chrome, *paths: Path) -> None:
    driver.find_element(By.ID, "file").send_keys("\n".join(map(str, paths)))


def test_upload_shows_the_picture_at_once_and_then_the_answer(page: webdriver.Chrome, pictures: Path) -> None:
    shot(page, "start")
    choose(page, pictures / "yellow.png")
    assert page.find_element(By.CSS_SELECTOR, ".photo").get_attribute("src").startswith("blob:")
    assert cards(page, 1) == ["dandelion"]
    labels = [one.text for one in page.find_elements(By.CSS_SELECTOR, ".bars .label")]
    assert labels[0] == "dandelion" and set(labels) == set(tiny_release.CLASSES)
    widths = [rect.size["width"] for rect in page.find_elements(By.CSS_SELECTOR, ".bars rect")]
    assert widths == sorted(widths, reverse=True) and widths[0] > 300
    assert "dandelion" in page.find_element(By.ID, "status").text
    heat = page.find_element(By.CSS_SELECTOR, ".heat")
    assert heat.value_of_css_property("opacity") == "0"
    page.find_element(By.CSS_SELECTOR, ".picture label").click()
    WebDriverWait(page, 60).until(lambda _: float(heat.value_of_css_property("opacity")) > 0.5)
    photo = page.find_element(By.CSS_SELECTOR, ".photo")
    assert page.execute_script("return arguments[0].naturalWidth", heat) > 0 and heat.size == photo.size


@pytest.mark.parametrize("width", [390, 1200])
@pytest.mark.parametrize("script", [True, False])
@pytest.mark.parametrize("shape", ["tall", "wide", "tiny"])
def test_the_heat_map_lies_on_the_picture_and_on_nothing_else(
    request: pytest.FixtureRequest, pictures: Path, site: Live, width: int, script: bool, shape: str
) -> None:
    page = request.getfixturevalue("page" if script else "plain")
    browser.resize(page, width, 844)
    page.get(site.url + "/")
    choose(page, pictures / f"{shape}.png")
    if not script:
        page.find_element(By.CSS_SELECTOR, "#upload button").click()
    assert cards(page, 1) == ["dandelion"]
    photo, heat, frame = (page.find_element(By.CSS_SELECTOR, name) for name in (".photo", ".heat", ".frame"))
    with Image.open(pictures / f"{shape}.png") as image:
        ratio = image.width / image.height
    WebDriverWait(page, 60).until(
        lambda _: photo.rect["width"] == pytest.approx(photo.rect["height"] * ratio, abs=1.5)
    )
    assert photo.rect == pytest.approx(heat.rect, abs=1) and photo.rect == pytest.approx(frame.rect, abs=1)
    most = 0.45 * float(page.execute_script("return innerHeight")) if width < 700 else 32 * 16
    assert photo.rect["height"] <= most + 1 and photo.rect["width"] < width
    if shape == "tall":
        assert photo.rect["height"] == pytest.approx(most, abs=1)
    browser.resize(page, 1200, 900)


def test_several_at_once_one_of_them_no_picture(page: webdriver.Chrome, pictures: Path) -> None:
    choose(page, *(pictures / name for name in ("yellow.png", "green.png", "gray.png", "no picture.jpg")))
    found = cards(page, 4)
    assert found == ["dandelion", "grass", "I can’t tell", "No answer"]
    alert = page.find_element(By.CSS_SELECTOR, "[role=alert]").text
    assert "this is a JPEG XL picture" in alert
    why = page.find_elements(By.CSS_SELECTOR, ".why")[2].text
    assert "An answer needs 60 %" in why and "97 %" in why
    shot(page, "several")


SEND = """
const bytes = Uint8Array.from(atob(arguments[0]), c => c.charCodeAt(0));
const data = new DataTransfer();
data.items.add(new File([bytes], "mine.png", {type: "image/png"}));
const event = arguments[1] === "paste" ? new ClipboardEvent("paste", {clipboardData: data, bubbles: true})
    : new DragEvent(arguments[1], {dataTransfer: data, bubbles: true, cancelable: true});
document.body.dispatchEvent(event);
"""


@pytest.mark.parametrize("script", [True, False])
def test_a_picture_of_neither_is_told_from_one_between(
    request: pytest.FixtureRequest, site: Live, pictures: Path, script: bool
) -> None:
    page = request.getfixturevalue("page" if script else "plain")
    page.get(site.url + "/")
    for name, words in (("strange", "like none of the pictures"), ("gray", "An answer needs 60 %")):
        choose(page, pictures / f"{name}.png")
        if not script:
            page.find_element(By.CSS_SELECTOR, "#upload button").click()
        # Without a script the page is another one then, and what was found on this one is stale.
        WebDriverWait(
            page, 10, ignored_exceptions=[NoSuchElementException, StaleElementReferenceException]
        ).until(lambda _, words=words: words in page.find_element(By.CSS_SELECTOR, ".card .why").text)
        assert page.find_element(By.CSS_SELECTOR, ".card h2").text == "I can’t tell"
    shot(page, "neither")


@pytest.mark.parametrize("way", ["paste", "drop"])
def test_paste_and_drop(page: webdriver.Chrome, way: str) -> None:
    data = base64.b64encode(tiny_release.picture("green", kind="PNG")).decode()
    if way == "drop":
        page.execute_script(SEND, data, "dragenter")
        assert "over" in page.find_element(By.TAG_NAME, "body").get_attribute("class")
    page.execute_script(SEND, data, way)
    assert cards(page, 1) == ["grass"]
    assert "over" not in page.find_element(By.TAG_NAME, "body").get_attribute("class")


def test_a_drag_that_comes_twice_and_goes_once_is_gone(page: webdriver.Chrome) -> None:
    for way, shown in (("dragenter", True), ("dragenter", True), ("dragleave", False)):
        page.execute_script(SEND, "", way)
        assert ("over" in page.find_element(By.TAG_NAME, "body").get_attribute("class")) == shown
    into = "arguments[0].dispatchEvent(new DragEvent(arguments[1], {bubbles: true, cancelable: true}))"
    body, inner = page.find_element(By.TAG_NAME, "body"), page.find_element(By.TAG_NAME, "h1")
    for target, way, shown in (
        (body, "dragenter", True),
        (inner, "dragenter", True),
        (body, "dragleave", True),
        (inner, "dragleave", False),
    ):
        page.execute_script(into, target, way)
        assert ("over" in body.get_attribute("class")) == shown


def test_a_list_of_addresses_is_dropped(page: webdriver.Chrome, elsewhere: str) -> None:
    sent = f"# two pictures\r\n{elsewhere}/one.jpg\r\nmailto:me@example.org\r\n{elsewhere}/two.jpg\r\n"
    page.execute_script(
        "const data = new DataTransfer(); data.setData('text/uri-list', arguments[0]);"
        "document.body.dispatchEvent(new DragEvent('drop', {dataTransfer: data, bubbles: true, cancelable: true}))",
        sent,
    )
    assert cards(page, 2) == ["grass", "grass"]
    names = [one.text for one in page.find_elements(By.CSS_SELECTOR, "#answers .name")]
    assert names == [f"{elsewhere}/one.jpg", f"{elsewhere}/two.jpg"]


def test_an_address_is_pasted_where_nothing_has_the_focus(page: webdriver.Chrome, elsewhere: str) -> None:
    page.execute_script(
        "const data = new DataTransfer(); data.setData('text', arguments[0]);"
        "document.dispatchEvent(new ClipboardEvent('paste', {clipboardData: data, bubbles: true}))",
        f"{elsewhere}/grass.jpg",
    )
    assert cards(page, 1) == ["grass"]


#: A server that refuses with a code twice and says then that it is no picture; counts what it is asked.
REFUSING = """
window.asked = 0;
window.fetch = async () => {
  const code = ++window.asked > 2 ? "picture-format" : arguments[0];
  const error = {status: 503, code, message: `refused: ${code}`};
  return new Response(JSON.stringify({error}), {status: 503, headers: {"Retry-After": "0.01"}});
};
"""


@pytest.mark.parametrize(("code", "asked"), [("busy", 3), ("no-model", 3), ("too-slow", 1)])
def test_only_what_passes_is_asked_again(
    page: webdriver.Chrome, pictures: Path, code: str, asked: int
) -> None:
    page.execute_script(REFUSING, code)
    choose(page, pictures / "green.png")
    assert cards(page, 1) == ["No answer"]
    assert page.execute_script("return window.asked") == asked
    said = page.find_element(By.CSS_SELECTOR, "[role=alert]").text
    assert said == f"refused: {code if asked == 1 else 'picture-format'}"


@pytest.mark.parametrize("shows", [True, False])
def test_a_picture_stays_beside_a_refusal_that_comes_before_it_has_loaded(
    page: webdriver.Chrome, shows: bool
) -> None:
    """The refusal is there before the browser has decoded a single row; what it cannot show is taken away."""
    script = """
const file = new File([Uint8Array.from(atob(arguments[0]), (c) => c.charCodeAt(0))], "large.png");
const answer = { error: { status: 413, code: "picture-too-large", message: "shrink it first" } };
window.fetch = async () => ({ ok: false, status: 413, headers: new Headers(), json: async () => answer });
classify(file);
"""
    picture = tiny_release.picture("yellow", 3_000, "PNG") if shows else UNREAD
    page.execute_script(script, base64.b64encode(picture).decode())
    assert cards(page, 1) == ["No answer"]
    if not shows:
        WebDriverWait(page, 60).until(lambda _: not page.find_elements(By.CSS_SELECTOR, "#answers .picture"))
        return
    photo = page.find_element(By.CSS_SELECTOR, "#answers .photo")
    WebDriverWait(page, 60).until(lambda _: photo.get_property("naturalWidth") == 3_000)
    assert photo.is_displayed()


def test_files_that_may_be_chosen_are_those_that_are_read(page: webdriver.Chrome) -> None:
    """With any other type named, or `image/*`, Safari would not convert HEIC to JPEG."""
    kinds = "image/jpeg,image/png,image/webp,image/gif,image/bmp,image/avif"
    inputs = page.find_elements(By.CSS_SELECTOR, "input[type=file]")
    assert [one.get_attribute("accept") for one in inputs] == [kinds, kinds]


def test_an_address_and_a_refused_one(page: webdriver.Chrome, elsewhere: str) -> None:
    page.find_element(By.ID, "url").send_keys(f"{elsewhere}/grass.jpg", Keys.ENTER)
    assert cards(page, 1) == ["grass"]
    assert page.find_element(By.CSS_SELECTOR, ".photo").get_attribute("src").startswith("data:image/jpeg")
    page.find_element(By.ID, "url").clear()
    page.find_element(By.ID, "url").send_keys(elsewhere.replace("127.0.0.1", "[::1]"), Keys.ENTER)
    assert cards(page, 2)[0] == "No answer"
    assert "does not lead to a public server" in page.find_element(By.CSS_SELECTOR, "[role=alert]").text


def test_keyboard_alone(page: webdriver.Chrome, pictures: Path) -> None:
    reached = []
    for _ in range(12):
        page.switch_to.active_element.send_keys(Keys.TAB)
        focused = page.switch_to.active_element
        reached.append(focused.get_attribute("id") or focused.text)
        if reached[-1] == "file":
            focused.send_keys(str(pictures / "green.png"))
            break
    assert reached[0] == "Skip to the content" and reached[-1] == "file"
    assert cards(page, 1) == ["grass"]
    page.find_element(By.CSS_SELECTOR, ".switch").send_keys(Keys.SPACE)
    heat = page.find_element(By.CSS_SELECTOR, ".heat")
    WebDriverWait(page, 60).until(lambda _: float(heat.value_of_css_property("opacity")) > 0.5)


def test_feedback_is_kept_beside_the_store(page: webdriver.Chrome, site: Live, pictures: Path) -> None:
    choose(page, pictures / "green.png")
    cards(page, 1)
    page.find_element(By.CSS_SELECTOR, ".feedback select").send_keys("dandelion")
    page.find_element(By.CSS_SELECTOR, ".feedback .send").click()
    said = page.find_element(By.CSS_SELECTOR, ".feedback .small")
    WebDriverWait(page, 60).until(lambda _: "Thank you" in said.text)
    kept = list((site.root / "feedback" / "dandelion").iterdir())
    assert [path.read_bytes() for path in kept] == [(pictures / "green.png").read_bytes()]


def test_what_it_may_be_instead_is_the_next_best(page: webdriver.Chrome, tmp_path: Path) -> None:
    """Of many classes nobody looks for the right one before the first of the alphabet is sent."""
    Image.new("RGB", (64, 64), (0, 255, 230)).save(tmp_path / "turquoise.png")
    choose(page, tmp_path / "turquoise.png")
    cards(page, 1)
    best, second = page.find_elements(By.CSS_SELECTOR, ".bars .label")[:2]
    others = page.find_elements(By.CSS_SELECTOR, ".feedback option")
    assert page.find_element(By.CSS_SELECTOR, ".feedback select").get_property("value") == second.text
    assert [one.text for one in others[:-1]] == sorted(one.text for one in others[:-1])
    assert second.text != others[0].text and best.text not in [one.text for one in others]


def test_without_javascript(plain: webdriver.Chrome, site: Live, pictures: Path, elsewhere: str) -> None:
    plain.get(site.url + "/")
    plain.find_element(By.ID, "file").send_keys(f"{pictures / 'yellow.png'}\n{pictures / 'gray.png'}")
    plain.find_element(By.CSS_SELECTOR, "#upload button").click()
    WebDriverWait(plain, 60).until(lambda _: "upload" in plain.current_url)
    assert [one.text for one in plain.find_elements(By.CSS_SELECTOR, ".card h2")] == [
        "dandelion",
        "I can’t tell",
    ]
    plain.find_element(By.CSS_SELECTOR, ".picture label").click()
    assert plain.find_element(By.CSS_SELECTOR, ".switch").is_selected()
    shot(plain, "plain")
    plain.find_element(By.ID, "url").send_keys(f"{elsewhere}/grass.jpg", Keys.ENTER)
    WebDriverWait(plain, 60).until(lambda _: "classify-url" in plain.current_url)
    assert plain.find_element(By.CSS_SELECTOR, ".card h2").text == "grass"
    plain.find_element(By.ID, "file").send_keys(str(pictures / "no picture.jpg"))
    plain.find_element(By.CSS_SELECTOR, "#upload button").click()
    WebDriverWait(plain, 60).until(lambda _: "upload" in plain.current_url)
    assert "this is a JPEG XL picture" in plain.find_element(By.CSS_SELECTOR, ".problem").text


def test_the_model_page_and_a_cell_of_the_confusion_matrix(page: webdriver.Chrome, site: Live) -> None:
    page.find_element(By.LINK_TEXT, "The model").click()
    assert page.find_element(By.TAG_NAME, "h1").text == "The model"
    shot(page, "model")
    page.find_element(By.CSS_SELECTOR, ".matrix .wrong a").click()
    images = page.find_elements(By.CSS_SELECTOR, "#cell img")
    assert len(images) == 1
    page.execute_script("arguments[0].scrollIntoView()", images[0])
    WebDriverWait(page, 60).until(
        lambda _: page.execute_script("return arguments[0].naturalWidth", images[0]) > 0
    )
    assert site.server.digest in page.page_source
    shot(page, "cell")


def test_who_made_the_pictures(page: webdriver.Chrome, site: Live) -> None:
    page.get(site.url + "/model")
    page.find_element(By.PARTIAL_LINK_TEXT, "Who made them").click()
    assert len(page.find_elements(By.CSS_SELECTOR, ".credits tbody tr")) == 100
    shot(page, "attribution")
    page.find_element(By.LINK_TEXT, "Next").click()
    assert page.find_element(By.CSS_SELECTOR, ".turn span").text == "101 to 200 of 230"


def test_the_confusion_matrix_keeps_its_headings_in_sight(page: webdriver.Chrome, site: Live) -> None:
    page.get(site.url + "/model")
    # As many classes would be, in the sheet that they scroll in.
    sheet = page.find_element(By.CSS_SELECTOR, ".wide:has(.matrix)")
    page.execute_script(
        "Object.assign(arguments[0].style, {width: '150px', height: '100px'}); arguments[0].scrollTo(999, 999)",
        sheet,
    )
    assert page.execute_script(
        "return [arguments[0].scrollLeft > 40, arguments[0].scrollTop > 40]", sheet
    ) == [
        True,
        True,
    ]
    inner = page.execute_script(
        "const r = arguments[0].getBoundingClientRect(), e = arguments[0];"
        "return [r.left + e.clientLeft, r.top + e.clientTop]",
        sheet,
    )
    position = "const r = arguments[0].getBoundingClientRect(); return [r.left, r.top]"
    column = page.execute_script(position, sheet.find_element(By.CSS_SELECTOR, "thead th:last-child"))
    row = page.execute_script(position, sheet.find_element(By.CSS_SELECTOR, "tbody tr:last-child th"))
    corner = page.execute_script(position, sheet.find_element(By.CSS_SELECTOR, "thead th:first-child"))
    assert column[1] == pytest.approx(inner[1], abs=1)
    assert row[0] == pytest.approx(inner[0], abs=1)
    assert corner == pytest.approx(inner, abs=1)


def test_nothing_is_wider_than_a_phone(page: webdriver.Chrome, site: Live, pictures: Path) -> None:
    browser.resize(page, 320, 640)
    for path in ("/", "/model", "/attribution", "/api"):
        page.get(site.url + path)
        if path == "/":
            choose(page, pictures / "gray.png")
            cards(page, 1)
        assert page.execute_script("return document.documentElement.scrollWidth") <= 320


def test_axe_finds_nothing(
    page: webdriver.Chrome, site: Live, pictures: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    source = browser.axe(tmp_path_factory.mktemp("axe"))
    shot(page, "api")
    for look in ("light", "dark"):
        media = {"features": [{"name": "prefers-color-scheme", "value": look}]}
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        for width in (1200, 390):
            browser.resize(page, width, 900)
            for path in (
                "/",
                "/model?label=grass&predicted=dandelion",
                "/attribution?page=2",
                "/api",
                "/nothing",
            ):
                page.get(site.url + path)
                if path == "/":
                    choose(page, pictures / "gray.png", pictures / "no picture.jpg", pictures / "yellow.png")
                    cards(page, 3)
                page.execute_script(source)
                found = page.execute_async_script("axe.run().then(arguments[0])")
                told = [(one["id"], [node["html"] for node in one["nodes"]]) for one in found["violations"]]
                assert not told, f"{path} {look} {width}: {told}"
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    page.get_log("browser")  # /nothing is a 404, which Chromium writes there.
