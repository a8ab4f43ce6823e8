"""Who hears of `greenr run`, by a real mail server and a webhook on loopback."""

import email
import logging
import os
import shutil
import signal
import stat
import sys
import threading
from email.policy import default
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from luigi.configuration import LuigiConfigParser

from greenr_luigi import cli, config_check, luigi_cfg, run_history
from greenr_luigi.errors import GreenrError, SettingError
from greenr_luigi.operations import notifier, notify, unattended
from greenr_luigi.operations.notices import Found
from greenr_luigi.operations.notify import Ended
from greenr_luigi.operations.unattended import Try
from greenr_luigi.run_history import Event
from greenr_luigi.serving import history
from greenr_luigi.staleness import data_root
from tests.operations.test_unattended import await_stage, run, start, toy  # noqa: F401
from tests.operations.webhook import SECRET, Hook, Webhook
from tests.pipeline import free_port


@pytest.fixture
def hook():
    with Webhook() as server:
        yield server


class Mailbox:
    """A mail server, and what came."""

    def __init__(self):
        self.got = []
        self.port = free_port()
        self.url = f"mailto://127.0.0.1:{self.port}?mode=insecure&from=greenr@example.org&to=ops@example.org"

    async def handle_DATA(self, server, session, envelope):
        message = email.message_from_bytes(envelope.content, policy=default)
        self.got.append((message["Subject"], message.get_body(("plain", "html")).get_content()))
        return "250 OK"


@pytest.fixture
def mailbox():
    box = Mailbox()
    controller = Controller(box, hostname="127.0.0.1", port=box.port)
    controller.start()
    yield box
    controller.stop()


def written(folder, *urls):
    (folder / "luigi.cfg").write_text(
        "[run]\nretries = 0\n[ServeToy]\nroot = data\n[notify]\nurls = " + ",\n  ".join(urls)
    )


@pytest.fixture
def memory(tmp_path_factory, monkeypatch):
    """What stands for the machine's memory, for this process."""
    monkeypatch.setattr(notify, "MEMORY", tmp_path_factory.mktemp("memory"))


@pytest.mark.slow
def test_each_fault_is_told_once_to_each_and_once_when_mended(toy, hook, mailbox):  # noqa: F811
    written(toy, mailbox.url, hook.url)
    whole = f"""[email]
receiver = ops@example.org
[smtp]
host = 127.0.0.1
port = {mailbox.port}
{(toy / "luigi.cfg").read_text()}"""
    (toy / "luigi.cfg").write_text(whole)

    def heard(words, **more):
        """What the two get in a run, and all that it says."""
        mailbox.got.clear()
        hook.got.clear()
        hook.refuses = more.get("refuses")
        status, said, _ = run(toy, words)
        return status, len(mailbox.got), len(hook.got), said

    where = f"{toy.name} on {os.uname().nodename}"
    assert heard("wrong")[:3] == (30, 1, 1)
    (subject, body), (path, posted) = mailbox.got[0], hook.got[0]
    assert (path, subject, posted["title"]) == (f"/{SECRET}", f"{where}: the run failed", subject)
    assert posted["type"] == "failure"
    for told in (body, posted["message"]):
        assert "ServeToy: the folder is gone" in told and "The page has no model yet." in told
        assert "Luigi Execution Summary" in told and "run-000001-" in told

    status, mails, posts, said = heard("killed", refuses=503)
    assert (mails, posts) == (1, 0) and "signal 9" in said[0]
    assert said[-1].startswith("could not tell address 2 (json://…), the next run tries again: ")
    assert "503" in said[-1]
    (log,) = (toy / "data" / "logs").glob("run-000002-*")
    assert said[-1] in log.read_text()
    assert heard("killed")[:3] == (status, 0, 1), "the same; who did not hear of it does now"

    # Who ends it knows.
    (toy / "do").write_text("waits")
    with start() as process:
        await_stage(toy, process)
        process.send_signal(signal.SIGTERM)
        said = process.communicate()[0]
    assert "failed: " in said and (len(mailbox.got), len(hook.got)) == (0, 1)

    # Before there is a run.
    (toy / "luigi.cfg").write_text(f"{whole} slak://{SECRET}")
    status, mails, posts, said = heard("")
    assert (status, mails, posts) == (1, 1, 1)
    wrong = "luigi.cfg: [notify] urls: address 3 (slak://…): there is no service slak: did you mean slack?"
    assert said[-1] == f"greenr: {wrong}" and SECRET not in "".join(said)
    (toy / "luigi.cfg").write_text(f"torn {SECRET}://x\n{whole}")
    assert heard("")[:3] == (1, 1, 1)
    assert "luigi.cfg, line 1: torn" in mailbox.got[0][1]
    assert heard("")[:3] == (1, 0, 0)
    (toy / "luigi.cfg").write_text(whole)

    assert heard("", refuses=503)[:3] == (0, 1, 0)
    assert mailbox.got[0][0] == f"{where}: well again"
    assert all(words in mailbox.got[0][1] for words in ("the folder is gone", "signal 9", "torn"))
    assert heard("")[:3] == (0, 0, 1), "a run with nothing to do"

    for file in (path for path in (toy / "data").rglob("*") if path.is_file()):
        assert SECRET not in file.read_text(), file
    assert stat.S_IMODE((toy / "data" / notify.FILE).stat().st_mode) == 0o600


@pytest.mark.slow
def test_a_full_disk_is_one_fault_wherever_it_shows(toy, hook, small_disk):  # noqa: F811
    written(toy, hook.url)
    config = (toy / "luigi.cfg").read_text()
    (toy / "luigi.cfg").write_text(config.replace("root = data", f"root = {small_disk}/data"))
    filler = small_disk / "filler"
    # Before there is a root, where all is well, and where there is a run, of which the history has no room to tell.
    for full, heard in ((True, 1), (True, 1), (False, 2), (True, 3), (True, 3)):
        filler.unlink(missing_ok=True)
        if full:
            shutil.rmtree(small_disk / "data" / "ServeToy", ignore_errors=True)
            with pytest.raises(OSError, match="No space left"), filler.open("wb", buffering=0) as file:
                while file.write(bytes(4096)):
                    pass
        status, said, _ = run(toy, "")
        assert (status != 0, len(hook.got)) == (full, heard), said
        if full:
            assert "the disk is full" in said[-1] + hook.got[-1][1]["message"]
    told = [posted["title"].partition(": ")[2] for _, posted in hook.got]
    assert told == ["the run failed", "well again", "the run failed"]
    filler.unlink()
    assert run(toy, "")[0] == 0
    assert (small_disk / "data" / notify.FILE).exists()


@pytest.fixture
def alone(tmp_path, monkeypatch, memory):
    """A folder that is a data root's, with no luigi.cfg."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LUIGI_CONFIG_PATH", raising=False)
    data_root.mark(tmp_path / "data")
    return tmp_path


@pytest.mark.parametrize(
    ("text", "urls"),
    [
        ("[notify]\nurls = json://a/b,\n  slack://c", ["json://a/b", "slack://c"]),
        ("[notify]\nurls = mailto://a@b?to=c,d; json://a%%40b ntfy://e", ["mailto://a@b?to=c,d", "json://a%40b", "ntfy://e"]),
        ("[notify]\nurls = json://${TOKEN}@a json://t0k3n@a", ["json://t0k3n@a"]),
        ("[notify]\nurls =\n", []),
        ("", []),
        # What does not parse elsewhere, above and below.
        ("what\n[TrainModel]\nepochs\n[notify]\nurls = json://a\n[notify]\n[core\n", ["json://a"]),
        ("\ufeff[core]\n[notify]\nurls = json://a\n[TrainModel]\n\xff", ["json://a"]),
    ],
)  # fmt: skip
def test_addresses_of_a_luigi_cfg_that_may_not_parse(text, urls, alone, monkeypatch):
    monkeypatch.setenv("TOKEN", "t0k3n")
    (alone / "luigi.cfg").write_bytes(text.encode(errors="surrogateescape"))
    assert [address.url for address in notifier.addresses()] == urls


@pytest.mark.parametrize(
    ("urls", "words"),
    [
        ("slak://{}", "address 1 (slak://…): there is no service slak: did you mean slack?"),
        ("json://a.example {}", "expected"),
        ("slack://{}", "address 1 (slack://…): Apprise makes nothing of it: see how slack:// is written"),
        ("{}", "address 1 (…): expected mailto://"),
        ("json://user:p%{}@a", "write %% for a percent sign"),
        ("json://${{NONE}}:{}@a", "there is no environment variable NONE: set it"),
    ],
)
def test_a_wrong_address_is_named_without_what_is_secret(urls, words, alone, caplog, capsys):
    caplog.set_level(logging.DEBUG)
    if " " in urls:  # Of several, the wrong one is named.
        urls, words = urls.replace("{}", "slack://{}"), "address 2 (slack://…): "
    (alone / "luigi.cfg").write_text(f"[notify]\nurls = {urls.format(SECRET)}\n")
    assert cli.main(["notify"]) == 1
    said = capsys.readouterr()
    assert words in said.err and "luigi.cfg: [notify] urls" in said.err
    assert SECRET not in said.err + said.out + caplog.text


@pytest.mark.parametrize(
    "text",
    [
        "[notify]\nurls = a\nurls = {}",
        "[notify]\nurls {}",
        "urls = {}",
        "mailto://{}",
        "[smtp]\npassword = x\npassword = {}",
        "[core]\nslack://{}\nslack://{}",
    ],
)
def test_a_line_that_does_not_parse_shows_nothing_secret(text, alone):
    (alone / "luigi.cfg").write_text(text.replace("{}", SECRET))
    with pytest.raises(SettingError) as error:
        luigi_cfg.check()
    assert SECRET not in str(error.value) and "line" in str(error.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[notify]\nurl = json://{}", "[notify] url is no setting: did you mean urls?"),
        ("[notify]\njson://{}%x", "[notify] json = …: write %% for a percent sign"),
        ("[notify]\nurls = json://%{}", "[notify] urls = …: write %% for a percent sign"),
        ("[notify]\nurls = json://${{}}", "[notify] urls = …: there is no such environment variable: set it"),
        ("[smtp]\npassword = %{}", "[smtp] password = …: write %% for a percent sign"),
        ("[notifiy]\nurls = json://{}", "[notifiy] is no stage: did you mean [notify]?"),
    ],
)
def test_the_check_of_luigi_cfg_shows_nothing_secret(text, words, alone):
    (alone / "luigi.cfg").write_text(text.replace("{}", SECRET))
    config = LuigiConfigParser()
    config.read("luigi.cfg")
    mistakes = [*config_check.wrong_sections(config, (), ()), *config_check.wrong_values(config)]
    said = [str(mistake) for mistake in mistakes]
    assert f"luigi.cfg: {words}" in said and not any(SECRET in each for each in said)


def test_of_a_message_that_is_too_long_the_beginning_comes(hook):
    assert notifier.Address(hook.url, "x").send("a", f"begins{'x' * 10**6}", "info") is None
    (_, posted) = hook.got[0]
    assert posted["message"].startswith("begins") and len(posted["message"]) < 10**5


def test_no_name_breaks_a_message(hook, mailbox):
    for url in (hook.url, mailbox.url):
        assert notifier.Address(url, "x").send("a\nBcc: b@example.org", "a\n\udcfc <b>", "failure") is None
    (_, posted), (subject, body) = hook.got[0], mailbox.got[0]
    assert posted["title"] == subject == "a Bcc: b@example.org"
    assert posted["message"] == "\n".join(body.splitlines()) == "a\n\\xfc <b>"


def test_without_apprise_the_remedy_is_told(alone, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "apprise", None)
    (alone / "luigi.cfg").write_text(f"[notify]\nurls = json://{SECRET}\n")
    assert cli.main(["notify"]) == 1
    assert "needs apprise: pip install 'greenr_luigi[notify]'" in capsys.readouterr().err


def test_a_test_message(alone, hook, capsys):
    assert cli.main(["notify"]) == 1
    assert (
        "luigi.cfg: [notify] urls: expected who is to be told, such as mailto://" in capsys.readouterr().err
    )
    nobody = f"json://user:{SECRET}@127.0.0.1:{free_port()}"
    (alone / "luigi.cfg").write_text(f"[notify]\nurls = {hook.url} {nobody}\n")
    assert cli.main(["notify"]) == 1
    first, second = capsys.readouterr().out.splitlines()
    assert first == "address 1 (json://…): sent" and hook.got[0][1]["title"] == notify.TEST[0]
    assert second.startswith("address 2 (json://…): A Connection error") and SECRET not in second


def test_who_takes_it_too_slowly_holds_nobody_up(hook, monkeypatch):
    monkeypatch.setattr(notifier, "PATIENCE", 0.05)
    ends = threading.Event()
    monkeypatch.setattr(Hook, "do_POST", lambda _: ends.wait(30) and None)
    (address,) = [notifier.Address(hook.url, "address 1")]
    assert address.send(*notify.TEST) == "it did not take it within 0 seconds"
    ends.set()


def told(root, hook, found=(), **more):
    hook.got.clear()
    said = []
    faults = {fault: Found(f"{fault}: words") for fault in found}
    to = [notifier.Address(hook.url, "address 1")]
    notify.tell(Ended(root, faults, well=not found, **more), to, lambda _: None, said.append)
    return [posted["message"] for _, posted in hook.got], said


@pytest.mark.parametrize("is_root", [True, False])
def test_what_was_told_is_known_where_the_root_cannot_be_written(is_root, alone, hook, monkeypatch):
    root = alone / "data" if is_root else alone / "not" / "there"

    def full(path, data, read_back=False):
        if path.is_relative_to(root):
            raise OSError(28, os.strerror(28), str(path))
        write(path, data, read_back)

    write = notify.files.write
    monkeypatch.setattr(notify.files, "write", full)
    assert [len(told(root, hook, ["a"])[0]) for _ in range(3)] == [1, 0, 0]
    data_root.mark(root)
    monkeypatch.setattr(notify.files, "write", write)
    assert [len(told(root, hook, found)[0]) for found in (["a"], ["a", "b"], [], [])] == [0, 1, 1, 0]
    assert (root / notify.FILE).exists() and not [*notify.MEMORY.rglob("*.json")]


def test_nowhere_to_note_what_was_told_is_said(alone, hook, monkeypatch):
    monkeypatch.setattr(notify, "MEMORY", Path("/nowhere"))
    (message,), (words,) = told(alone / "nothing", hook, ["a"])
    assert "a: words" in message and words.startswith(
        "what was told could not be noted, and may be told again"
    )


def test_a_torn_note_tells_once_more(alone, hook):
    (alone / "data" / notify.FILE).write_text("{")
    assert [len(told(alone / "data", hook, ["a"])[0]) for _ in range(2)] == [1, 0]


def test_a_folder_of_another_in_memory_is_left_alone(alone):
    (notify.MEMORY / f"greenr-{os.geteuid()}").symlink_to(alone)
    assert [*notify._places(alone / "nothing")] == []


def test_for_how_long_the_page_has_been_on_its_model(alone):
    root, digest = alone / "data", "0123456789abcdef"
    assert "cannot be told" in notify.page(alone / "nothing")
    (root / "releases").mkdir()
    assert notify.page(root) == "The page has no model yet."
    (root / "releases" / "current").symlink_to(digest)
    history.append(root / "releases", history.Entry(digest, when="2026-01-01T00:00:00+00:00"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(notify.time, "time", lambda: 1767225600.0 + 12.5 * notify.DAY)
        assert (
            notify.page(root)
            == f"The page has been on its model, release {digest}, for 12 days, and is down."
        )
        patch.setattr(notify.time, "time", lambda: 0.0)
        assert "for 0 days" in notify.page(root)


def test_what_is_found_of_a_run():
    """A warning waits for a week; what the page kept down is told only where the run did not mend it."""
    warned = [
        "DownloadImages(a): bing is down",
        "DownloadImages(b), DownloadImages(c): flickr is down",
        "Split: few",
    ]
    event = Event(kind="run", name="DeployApp", outcome="failed", seconds=1, because="x", warnings=warned)
    good = unattended._found(Try(0, event, [], False), OSError(98, "taken"))
    assert good == {
        "DownloadImages warning": Found("\n".join(warned[:2]), patient=True),
        "Split warning": Found("Split: few", patient=True),
    }
    bad = unattended._found(Try(30, event, [], False), GreenrError("port 8008 is taken"))
    more = {
        "page GreenrError port is taken": Found("the page is down: port 8008 is taken"),
        "status 30": Found("x"),
    }
    assert bad == good | more


class Busy(GreenrError):
    """Of a class of its own."""


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (Busy("bing: 12 of 20"), Busy("commons is down"), True),
        (TypeError("x 1"), ValueError("x 1"), False),
        (GreenrError("port 80 is taken by 12"), GreenrError("port 80 is taken by 7342"), True),
        (GreenrError("the folder is gone"), GreenrError("the port is taken"), False),
        (OSError(28, "x", "a"), OSError(122, "x", "b"), True),
    ],
)
def test_the_same_fault_is_the_same_place_and_kind_of_cause(one, other, same):
    names = {run_history.fault_of("TrainModel", error) for error in (one, other)}
    assert len(names) == (1 if same else 2)
    assert run_history.fault_of("A", TypeError()) != run_history.fault_of("B", TypeError())
