"""The monitoring pipeline: claim → measure → perform → decide. One run takes every window that is due."""

from kfp import dsl

from components.claim import claim
from components.decide import decide
from components.measure import measure
from components.perform import perform
from pipelines.training import pipeline


@pipeline("monitoring")
def monitoring(spec: str, run_id: str, key: str, now: str) -> None:
    """Look at what was served and decide what is to be done; stand aside if the claim is another run's."""
    claimed = claim(key=key, owner=run_id)
    with dsl.If(claimed.outputs["Output"] == "mine"):
        measured = measure(spec=spec, now=now).outputs["measurements"]
        performed = perform(spec=spec, now=now, measurements=measured).outputs["performances"]
        decide(
            spec=spec,
            run_id=run_id,
            key=key,
            token=claimed.outputs["token"],
            now=now,
            measurements=measured,
            performances=performed,
        )
