"""Windows: what was found in each, once."""

from contextlib import suppress
from datetime import datetime

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.exc import IntegrityError

from perennial.errors import NotFoundError
from perennial.ledger.tables import windows
from perennial.ledger.transactions import Transactions, read_all, read_one
from perennial.loop.window import Measurement, Performance, Window, WindowRecord


class Windows(Transactions):
    """What is kept of windows."""

    def record_window(self, model: str, window: Window, measurement: Measurement, *, now: datetime) -> WindowRecord:
        """The closed window has been measured; measured again, the first measurement stays.

        Args:
            model: name of the model.
            window: its stretch of time.
            measurement: what it held.
            now: UTC.
        """
        values = {"model": model, "start": window.start, "end": window.end, "measured_at": now}
        with suppress(IntegrityError), self._write() as connection:
            connection.execute(insert(windows).values(**values, measurement=measurement.model_dump(mode="json")))
        with self._read() as connection:
            return _window(connection, model, window.start)

    def record_performance(self, model: str, start: datetime, performance: Performance) -> WindowRecord:
        """The matured window has been judged; judged again, the first judgement stays.

        Raises:
            NotFoundError: the window was not measured.
        """
        condition = (windows.c.model == model) & (windows.c.start == start)
        with self._write() as connection:
            statement = update(windows).where(condition & windows.c.performance.is_(None))
            connection.execute(statement.values(performance=performance.model_dump(mode="json")))
            return _window(connection, model, start)

    def windows(self, model: str, limit: int | None = None) -> tuple[WindowRecord, ...]:
        """The measured windows of a model, newest first."""
        query = select(windows).where(windows.c.model == model).order_by(windows.c.start.desc()).limit(limit)
        with self._read() as connection:
            return read_all(connection, query, WindowRecord)


def _window(connection: Connection, model: str, start: datetime) -> WindowRecord:
    condition = (windows.c.model == model) & (windows.c.start == start)
    record = read_one(connection, select(windows).where(condition), WindowRecord)
    if record is None:
        raise NotFoundError(f"ledger: the window of {model} from {start.isoformat()} was never measured")
    return record
