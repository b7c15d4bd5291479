"""The training pipeline: claim → dataset → validate → train → evaluate → gate → refit → thresholds → check → record."""

from collections.abc import Callable
from typing import Any

from kfp import dsl

from components.check import check
from components.claim import claim
from components.dataset import build_dataset
from components.evaluate import evaluate
from components.gate import gate
from components.record import record
from components.refit import refit
from components.thresholds import set_thresholds
from components.train import train
from components.validate import validate_data


def pipeline(name: str) -> Callable[[Callable[..., None]], Any]:
    """`dsl.pipeline` with a type."""
    return lambda graph: dsl.pipeline(name=name)(graph)


@pipeline("training")
def training(spec: str, run_id: str, key: str, now: str, wall_clock: str, recipe: str, champion: str, excluded: str) -> None:
    """Train a challenger and register it if every gate lets it through; stand aside if the claim is another run's.

    Each branch ends in `record`: whatever a run found is kept. A gate that stops a candidate is a result, so the run succeeds.
    """
    claimed = claim(key=key, owner=run_id)
    with dsl.If(claimed.outputs["Output"] == "mine"):
        built = build_dataset(spec=spec, now=now, wall_clock=wall_clock, excluded=excluded)
        dataset = built.outputs["dataset"]
        validated = validate_data(spec=spec, dataset=dataset)
        run = {"spec": spec, "run_id": run_id, "run_key": built.outputs["Output"], "dataset": dataset}
        run |= {"validation": validated.outputs["validation"], "key": key, "token": claimed.outputs["token"]}
        with dsl.If(validated.outputs["Output"] == "pass"):
            candidate = train(spec=spec, recipe=recipe, dataset=dataset).outputs["candidate"]
            judgement = evaluate(spec=spec, champion=champion, dataset=dataset, candidate=candidate).outputs["judgement"]
            gated = gate(spec=spec, validation=run["validation"], judgement=judgement)
            with dsl.If(gated.outputs["Output"] == "pass"):
                version = refit(spec=spec, run_key=run["run_key"], dataset=dataset, candidate=candidate).outputs["version"]
                thresholds = set_thresholds(spec=spec, dataset=dataset, candidate=candidate, version=version).outputs[
                    "thresholds"
                ]
                checked = check(
                    spec=spec,
                    run_key=run["run_key"],
                    dataset=dataset,
                    candidate=candidate,
                    version=version,
                    gates=gated.outputs["gates"],
                ).outputs["checked"]
                record(**run, candidate=candidate, judgement=judgement, gates=checked, version=version, thresholds=thresholds)
            with dsl.Else():
                record(**run, candidate=candidate, judgement=judgement, gates=gated.outputs["gates"])
        with dsl.Else():
            record(**run)
