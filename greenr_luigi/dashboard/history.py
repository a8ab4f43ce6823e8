"""Luigi's history of tasks, of the last days."""

from __future__ import annotations

import datetime
from pathlib import Path

import luigi.configuration
from luigi import db_task_history, task_history
from sqlalchemy import URL, text
from sqlalchemy.exc import DatabaseError

from greenr_luigi.errors import GreenrError

# Its pragma, as Luigi 3.8 writes it, fails with SQLAlchemy 2; and no schema here is older than that.
db_task_history._upgrade_schema = lambda _: None
# The history shows what the page of stages shows.
setattr(task_history.StoredTask, "parameters", property(lambda stored: stored._task.public_params))  # noqa: B010

FORGET = (
    "delete from task_events where ts < :before",
    "delete from task_parameters where task_id not in (select task_id from task_events)",
    "delete from tasks where id not in (select task_id from task_events)",
)


class TaskHistory(db_task_history.DbTaskHistory):
    """`path`: of the database. Raises GreenrError for one that cannot be read."""

    def __init__(self, path: Path) -> None:
        # A question mark in the path would end it, and a percent sign be half of a letter.
        connection = URL.create("sqlite", database=str(path)).render_as_string().replace("%", "%%")
        luigi.configuration.get_config().set("task_history", "db_connection", connection)
        try:
            super().__init__()  # type: ignore[no-untyped-call]
        except DatabaseError as error:
            raise GreenrError(f"{path}: no history can be read there ({error.orig}): move it away") from None

    def forget(self, days: float) -> None:
        """Delete what happened earlier than so many days ago, and tasks of which nothing is left."""
        before = datetime.datetime.now() - datetime.timedelta(days=days)
        with self._session() as session:
            for line in FORGET:
                session.execute(text(line), {"before": before.isoformat(" ", "microseconds")})
            left = {*session.scalars(text("select id from tasks"))}
        # Luigi goes on with the record that a task had before.
        self.tasks = {name: task for name, task in self.tasks.items() if task.record_id in left}
