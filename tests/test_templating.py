"""Templates beside a process that runs."""

from __future__ import annotations

from pathlib import Path

import jinja2
import pytest

from greenr_luigi import templating
from greenr_luigi.text import percent


def test_an_update_changes_nothing_for_who_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its code does not know what the new templates ask for."""
    monkeypatch.setattr(templating, "TEMPLATES", tmp_path)
    (tmp_path / "base.html").write_text("[{% block words %}{% endblock %}]")
    (tmp_path / "page.html").write_text(
        "{% extends 'base.html' %}{% block words %}{{ share | percent }}{% endblock %}"
    )
    environment = templating.environment.__wrapped__()
    for name in ("base.html", "page.html"):
        (tmp_path / name).write_text("{{ share | a_filter_of_tomorrow }}")
    assert environment.get_template("page.html").render(share=0.5) == f"[{percent(0.5)}]"
    with pytest.raises(jinja2.TemplateNotFound):
        environment.get_template("page.txt")
