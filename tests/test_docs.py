"""What README and docs/ tell people to type is there, and does what they say."""

import argparse
import importlib
import re
import shlex
import sys
from pathlib import Path

import luigi.configuration
import pytest
from luigi.cmdline_parser import CmdlineParser

import tasks
from greenr_luigi import cli
from greenr_luigi.about import PACKAGE
from greenr_luigi.commands.page import NGINX_OPTIONS
from greenr_luigi.operations import nginx
from greenr_luigi.serving.service import Service

PAGES = [PACKAGE.parent / "README.md", *sorted((PACKAGE.parent / "docs").glob("*.md"))]
SERVING = (PACKAGE.parent / "docs" / "serving.md").read_text()
NGINX = SERVING.partition("## Behind nginx")[2].partition("\n## ")[0]
#: Words between which a line has several commands, or after which it has none.
BETWEEN = re.compile(r"(?:;|\s(?:&&|\|\|?|>|<|#.*))(?:\s|$)")


def told(text):
    """All commands `greenr ...` of a page, as words: in blocks of lines, and in code between words."""
    blocks = re.findall(r"^```(?:sh|console)\n(.*?)^```", text, re.M | re.S)
    lines = [line for block in blocks for line in block.splitlines()]
    lines += re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))
    for line in lines:
        for part in BETWEEN.split(line.removeprefix("$ ").replace("\\|", "|")):
            if part.startswith("greenr "):
                yield shlex.split(part)[1:]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_its_commands_and_their_options_are_there(page):
    parser = cli.build_parser()
    options = CmdlineParser._build_parser(tasks.STAGES[-1].get_task_family())._option_string_actions
    for words in told(page.read_text()):
        if words[1:] == [] and words[0] in {command.name for command in cli.COMMANDS}:
            continue  # Its name, without what it wants.
        try:
            arguments, rest = parser.parse_known_args(words)
        except SystemExit:
            pytest.fail(f"{page.name}: greenr {shlex.join(words)}")
        unknown = [word for word in rest if word.startswith("-")]
        if arguments.command.takes_luigi_options:
            unknown, rest = [word for word in unknown if word.partition("=")[0] not in options], []
        assert (unknown, rest) == ([], []), f"{page.name}: greenr {shlex.join(words)}"


def test_a_command_that_is_not_there_is_found():
    assert [*told("```sh\ncd x && greenr nginx --no > y   # z\n```\n`greenr stat` `luigi x`")] == [
        ["nginx", "--no"],
        ["stat"],
    ]


def test_it_tells_all_options_of_greenr_nginx():
    assert {*re.findall(r"`(--[a-z]+)[^`]*`", NGINX)} == {option for option, _ in NGINX_OPTIONS}


def test_what_it_shows_of_nginx_is_printed_by_its_own_settings():
    """And then luigi.cfg lacks nothing that `greenr nginx` would name."""
    (settings,) = re.findall(r"^```\n(\[DeployApp\].*?)^```", NGINX, re.M | re.S)
    (shown,) = re.findall(r"^```nginx\n(.*?)^```", NGINX, re.M | re.S)
    written = luigi.configuration.LuigiConfigParser()
    written.read_string(settings)
    variables = {f"GREENR_{name.upper()}": value for name, value in written.items("server")}
    store = Path("data/releases")
    service = Service(
        store, store, port=8008, root_path=written.get("DeployApp", "root_path"), settings=variables
    )
    printed = nginx.configuration(service, "http://127.0.0.1:8082", nginx.Front())
    assert shown in printed
    assert nginx.lacking(service, nginx.Front()) == []
    bare = Service(store, store, port=8008, root_path="/app")
    lines = nginx.lacking(bare, nginx.Front(names=[written.get("server", "allowed_hosts")]))
    assert {f"[server] {name} = {value}" for name, value in written.items("server")} == {*lines}
    assert f"> {re.search('For (/etc/[^ ]+conf)', printed)[1]} " in NGINX
    assert NGINX.count(nginx.PASSWORDS) >= 2


def test_what_greenr_knows_readme_tells():
    names = {words[0] for words in told(PAGES[0].read_text())}
    spans = {span.split()[0] for span in re.findall(r"`([a-z][^`\n]*)`", PAGES[0].read_text())}
    assert {command.name for command in cli.COMMANDS} <= names | spans


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [page for page in PAGES if "bench." in page.read_text()], ids=lambda page: page.name
)
def test_what_it_says_of_benchmarks_can_be_started(page, monkeypatch):
    """Up to where the command is understood."""

    class UnderstoodError(Exception):
        pass

    def understand(parse):
        def understood(parser):
            parse(parser)
            raise UnderstoodError

        return understood

    for name in ("parse_args", "parse_intermixed_args"):
        parse = getattr(argparse.ArgumentParser, name)
        monkeypatch.setattr(argparse.ArgumentParser, name, understand(parse))
    for name, words in re.findall(r"`python -m bench\.(\w+)([^`]*)`", page.read_text()):
        monkeypatch.setattr(sys, "argv", [name, *words.split()])
        with pytest.raises(UnderstoodError):
            importlib.import_module(f"bench.{name}").main()


ROOT = PACKAGE.parent
LINKING = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]


def anchors(text: str) -> set[str]:
    """Of the headings of a page, as GitHub makes them."""
    bare = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.+)$", bare, re.M)
    }


@pytest.mark.parametrize("page", LINKING, ids=lambda page: page.name)
def test_its_links_lead_to_what_is_there(page):
    text = page.read_text()
    bare = re.sub(r"^ *```.*?^ *```|`[^`\n]*`", "", text, flags=re.M | re.S)
    for link in re.findall(r"\]\(([^)\s]+)\)", bare):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        to = page.parent / path if path else page
        assert to.exists(), f"{page.name}: {link}"
        if anchor:
            assert anchor in anchors(to.read_text()), f"{page.name}: {link}"
    # And a section that is named beside a link is one of that page.
    for path, title in re.findall(r"\(\[[\w/.]+\]\(([\w/.]+\.md)\), ([A-Z][\w ]+)\)", bare):
        assert re.search(rf"^(#+|\*\*).*{title}", (page.parent / path).read_text(), re.M), (
            f"{page.name}: {path}, {title}"
        )
