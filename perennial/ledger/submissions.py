"""Submissions: which runs were handed to a pipeline server, under which id. Whose id is the newest may execute the run."""

from contextlib import suppress

from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError

from perennial.ledger.records import Submission
from perennial.ledger.tables import submissions
from perennial.ledger.transactions import Transactions, read_all, read_one


class Submissions(Transactions):
    """What is kept of submissions."""

    def add_submission(self, submission: Submission) -> bool:
        """The attempt is this one's; false where another was first. Of many that come at once, one is.

        Args:
            submission: of a run that the ledger knows; its attempt is one more than the newest that was read.
        """
        with suppress(IntegrityError), self._write() as connection:
            connection.execute(insert(submissions).values(**submission.model_dump()))
            return True
        return False

    def refuse_submission(self, submission: Submission, refusal: str) -> None:
        """The server refused it: nothing of it executes."""
        condition = (submissions.c.run_id == submission.run_id) & (submissions.c.attempt == submission.attempt)
        with self._write() as connection:
            connection.execute(update(submissions).where(condition).values(refusal=refusal))

    def submissions(self, run_id: str) -> tuple[Submission, ...]:
        """Those of a run, newest first."""
        query = select(submissions).where(submissions.c.run_id == run_id).order_by(submissions.c.attempt.desc())
        with self._read() as connection:
            return read_all(connection, query, Submission)

    def newest_submission(self, run_id: str) -> Submission | None:
        """The one that may execute a run; none where it was never handed over."""
        return next(iter(self.submissions(run_id)), None)

    def submission(self, pipeline_run: str) -> Submission | None:
        """The one with this id on the server; none where this ledger handed over nothing under it."""
        with self._read() as connection:
            return read_one(connection, select(submissions).where(submissions.c.pipeline_run == pipeline_run), Submission)
