"""The log of a run, read by step."""

from pipelines.log import last_step, read_steps

LOG = """\
23:59:58.000 - INFO - Running pipeline: 'training'
23:59:59.500 - INFO - Executing task 'build-dataset'
    Looking for component
23:59:59.900 - INFO - Streamed logs:
    joined
00:00:01.000 - INFO - Task \x1b[96m'build-dataset'\x1b[0m finished with status \x1b[92mSUCCESS\x1b[0m
00:00:01.100 - INFO - Executing task 'record-2'
    Traceback (most recent call last):
      File "x.py", line 1, in <module>
    sqlite3.OperationalError: database is locked

    The above exception was the direct cause of the following exception:

    perennial.errors.PlatformError: ledger.db: locked
      wait for the other process
00:00:02.000 - ERROR - Task 'record-2' finished with status FAILURE
""".splitlines()


def test_steps_are_timed_across_midnight_and_named_without_their_number() -> None:
    steps = [(step.name, step.state, step.seconds) for step in read_steps(LOG)]
    assert steps == [
        ("build-dataset", "running", 0.0),
        ("build-dataset", "succeeded", 1.5),
        ("record", "running", 0.0),
        ("record", "failed", 0.9),
    ]


def test_a_step_keeps_what_it_printed() -> None:
    first = next(step for step in read_steps(LOG) if step.state == "succeeded")
    assert first.lines == ("Looking for component", "joined")


def test_the_last_step_is_the_one_that_did_not_succeed() -> None:
    step, printed = last_step(LOG)
    assert step == "record" and printed[-1] == "      wait for the other process"
    assert last_step(LOG[:6]) == ("", [])
