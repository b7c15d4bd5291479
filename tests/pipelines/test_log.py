"""The log of a run, read by step."""

import pytest

from pipelines.log import find_error, read_steps

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


def test_the_error_is_the_last_one_raised_with_all_its_lines() -> None:
    error = find_error(LOG)
    assert error is not None
    assert type(error).__name__ == "PlatformError"
    assert str(error) == "ledger.db: locked\n  wait for the other process"


def test_a_log_without_an_error_has_none() -> None:
    assert find_error(LOG[:6]) is None


def log_of(*printed: str) -> list[str]:
    """The log of a run whose step `train` printed this and failed."""
    begin, end = (
        "00:00:01.100 - INFO - Executing task 'train-3'",
        "00:00:02.000 - ERROR - Task 'train-3' finished with status FAILURE",
    )
    return [*LOG[:6], begin, *(f"    {line}" for line in "\n".join(printed).splitlines()), end]


def trace_of(raised: str, *places: str) -> str:
    """A trace as Python prints it; places are `file:line:function`, the last one raised it."""
    frames = [
        f'  File "{file}", line {line}, in {function}\n    work()' for file, line, function in (p.split(":") for p in places)
    ]
    return "\n".join(["Traceback (most recent call last):", *frames, raised])


HERE, THERE = "/opt/perennial/perennial/training/fitting.py:41:fit", "/venv/lib/python3.11/site-packages/sklearn/base.py:9:fit"
CAUSED = "\nThe above exception was the direct cause of the following exception:\n"
DURING = "\nDuring handling of the above exception, another exception occurred:\n"
OURS = trace_of("perennial.errors.DataError: pair.parquet: empty\n  write it again", HERE)
RETRIES = "urllib3.exceptions.MaxRetryError: HTTPConnectionPool(host='stats', port=80): Max retries exceeded"
LOCKED = trace_of("sqlite3.OperationalError: database is locked", HERE)
FOUND: dict[str, tuple[list[str], str, str]] = {
    # what the step printed; kind of the error, and how it begins
    "ours": ([OURS], "DataError", "pair.parquet: empty\n  write it again"),
    "ours, then a line that looks like an error": ([OURS, RETRIES], "DataError", "pair.parquet: empty\n  write it again"),
    "ours, then an unrelated trace": ([OURS, "", trace_of(RETRIES, THERE)], "DataError", "pair.parquet: empty"),
    "ours, raised from a foreign one": ([trace_of("KeyError: 'a'", HERE), CAUSED, OURS], "DataError", "pair.parquet: empty"),
    "a bug in our code": (
        [trace_of("ValueError: no", HERE)],
        "UnexpectedError",
        "train: ValueError: no (perennial/training/fitting.py, line 41, in fit). Nobody foresaw this",
    ),
    "a bug below our code": (
        [trace_of("numpy.linalg.LinAlgError: Singular matrix", HERE, THERE)],
        "UnexpectedError",
        "train: numpy.linalg.LinAlgError: Singular matrix (perennial/training/fitting.py, line 41, in fit)",
    ),
    "a bug elsewhere": (
        [trace_of("KeyError: 'a'", THERE)],
        "UnexpectedError",
        "train: KeyError: 'a' (sklearn/base.py, line 9, in",
    ),
    "a type without the usual ending": (
        [trace_of("pyarrow.lib.ArrowInvalid: x", HERE)],
        "UnexpectedError",
        "train: pyarrow.lib.",
    ),
    "an exception that says nothing": (
        [trace_of("AssertionError", HERE)],
        "UnexpectedError",
        "train: AssertionError (perennial/",
    ),
    "an outage": ([LOCKED], "PlatformError", "train: sqlite3.OperationalError: database is locked; the same call may work later"),
    "raised from an outage": ([LOCKED, CAUSED, trace_of("feast.X: no", HERE)], "PlatformError", "train: feast.X: no"),
    "raised beside an outage": ([LOCKED, DURING, trace_of("KeyError: 'a'", HERE)], "UnexpectedError", "train: KeyError: 'a'"),
    "the last of two": ([trace_of("KeyError: 'a'", HERE), "caught", LOCKED], "PlatformError", "train: sqlite3.OperationalError"),
}


@pytest.mark.parametrize(("printed", "kind", "said"), FOUND.values(), ids=FOUND)
def test_the_error_of_a_step_is_what_ended_it(printed: list[str], kind: str, said: str) -> None:
    error = find_error(log_of(*printed), "churn-1")
    assert type(error).__name__ == kind
    assert str(error).startswith(said)
    assert kind != "UnexpectedError" or "`perennial logs churn-1 train`" in str(error)


@pytest.mark.parametrize("printed", [[], [RETRIES], ["ValueError: printed by a report, not raised"], ["all is well"]])
def test_a_step_that_printed_no_trace_has_no_error(printed: list[str]) -> None:
    assert find_error(log_of(*printed)) is None


def test_what_a_step_that_succeeded_had_printed_is_not_the_run_s_error() -> None:
    well = [line.replace("ERROR", "INFO").replace("FAILURE", "SUCCESS") for line in log_of(OURS)]
    assert find_error(well) is None
