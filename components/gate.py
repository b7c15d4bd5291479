"""Gate: say pass, fail, undecided or not applicable for every rule of the spec."""

from kfp import dsl

from components.step import step


@step
def gate(
    spec: str, validation: dsl.Input[dsl.Artifact], judgement: dsl.Input[dsl.Artifact], gates: dsl.Output[dsl.Artifact]
) -> str:
    """Apply the gates to a judged candidate.

    Args:
        spec: model spec as JSON.
        validation: JSON of the gate *data*.
        judgement: JSON of metrics, comparison and error analysis.
        gates: JSON of every gate's result.

    Returns:
        `pass` when nothing stops the candidate, else `stop`.
    """
    from pathlib import Path

    from perennial.data.validation import Validation
    from perennial.evaluation.gates import judge
    from perennial.spec.read import read_text
    from perennial.versions.findings import GateResults, Judgement

    candidate_judgement, valid = Judgement.read(Path(judgement.path)), Validation.read(Path(validation.path))
    results = GateResults(results=judge(read_text(spec).spec, candidate_judgement, valid.gate))
    results.write(Path(gates.path))
    return "pass" if results.passed else "stop"
