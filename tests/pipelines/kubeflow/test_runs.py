"""Runs on Kubeflow: a run that ends well, that a gate stops, that breaks, that is killed, repeated, terminated, started by hand."""

import pytest

from perennial.ledger import Ledger
from perennial.loop.request import Train
from pipelines.kept import log_lines
from tests.pipelines.kubeflow.conftest import Installation
from tests.second_project import NAME

pytestmark = [pytest.mark.local, pytest.mark.xdist_group("kubeflow")]


def test_a_training_on_kubeflow(installation: Installation) -> None:
    request = installation.done(installation.ask(Train()))
    with Ledger.open(installation.settings.ledger) as ledger:
        runs = ledger.runs(NAME)
        (submission,) = ledger.submissions(runs[0].run_id)
    print(installation.server.logs(submission.pipeline_run, "train-model"))
    print(installation.server.wait(submission.pipeline_run))
    assert (request.failure, request.outcome) == (None, "registered")
    assert log_lines(installation.settings, runs[0].run_id)
