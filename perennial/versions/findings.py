"""The findings of a run: everything that its steps stored, from the dataset to the gates. Reports and cards are made from it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from perennial.data.dataset import DatasetInfo
from perennial.data.validation import Validation
from perennial.evaluation.calibration import Calibrator
from perennial.evaluation.gates import GateResult, passed
from perennial.evaluation.metrics import Baseline, BlockEvaluation, Comparison, ErrorAnalysis
from perennial.record import Record, old_keys
from perennial.spec.model import Model
from perennial.spec.read import read_text, to_json
from perennial.training.recipe import SearchResult
from perennial.versions.contract import Contract
from perennial.versions.folder import VersionFolder


class CandidateSummary(Record):
    """What is stored of a trained candidate beside its model file."""

    search: SearchResult
    """How the recipe was found."""
    calibrator: Calibrator
    """Fitted on the out-of-fold predictions."""
    baseline: Baseline
    """The rule to beat, from the same training rows."""
    threshold: float
    """Decide *positive* from this calibrated probability on."""
    rows: int
    """Labelled rows that it was fitted on."""
    _old = old_keys(naive="baseline")


class Judgement(Record):
    """What was found about a candidate on the evaluation block."""

    evaluation: BlockEvaluation
    """Metrics on the evaluation block."""
    comparison: Comparison | None
    """Paired with the champion; null when there is none, or when it cannot be scored."""
    no_comparison: str
    """Why there is no comparison; empty when there is one."""
    analysis: ErrorAnalysis
    """Where the candidate is worst."""
    champion: str
    """Digest of the champion's version folder; empty when there is none."""
    recipe_changed: bool
    """Whether the candidate's recipe differs from the champion's."""


class GateResults(Record):
    """What all gates of a run said, in order."""

    results: tuple[GateResult, ...]
    """One for each gate."""

    @property
    def passed(self) -> bool:
        """Whether nothing but `pass` and `not applicable` was said."""
        return passed(self.results)

    def and_then(self, more: tuple[GateResult, ...]) -> "GateResults":
        """These results followed by others."""
        return GateResults(results=self.results + more)


@dataclass(frozen=True)
class Findings:
    """What a run found. What it did not come to is none."""

    model: Model
    info: DatasetInfo
    validation: Validation
    candidate: CandidateSummary | None = None
    judgement: Judgement | None = None
    gates: GateResults | None = None
    contract: Contract | None = None

    @property
    def results(self) -> tuple[GateResult, ...]:
        """What the gates said; the gate *data* alone when the data stopped the run."""
        return self.gates.results if self.gates else (self.validation.gate,)

    @property
    def registered(self) -> bool:
        """Whether the run made a version: it was refitted, and every gate let it through."""
        return self.contract is not None and self.gates is not None and self.gates.passed

    def write(self, folder: Path) -> None:
        """Write every finding into a folder, one JSON file each."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "spec.json").write_text(to_json(self.model) + "\n", encoding="utf-8")
        for name, record in self._records().items():
            record.write(folder / f"{name}.json")

    def _records(self) -> dict[str, Record]:
        records = {
            "dataset": self.info,
            "validation": self.validation,
            "candidate": self.candidate,
            "judgement": self.judgement,
            "gates": self.gates,
            "contract": self.contract,
        }
        return {name: record for name, record in records.items() if record is not None}

    @classmethod
    def read(cls, folder: Path) -> "Findings":
        """The findings stored in a folder.

        Raises:
            NotFoundError: there are none.
            DataError: a file is not what it should be.
        """
        return cls._from(lambda name: folder / f"{name}.json")

    @classmethod
    def of_version(cls, version: VersionFolder) -> "Findings":
        """The findings of the run that made a version.

        Raises:
            NotFoundError: its folder does not hold them.
            DataError: a file is not what it should be.
        """
        return cls._from(version.file)

    @classmethod
    def _from(cls, place: Callable[[str], Path]) -> "Findings":
        return cls(
            model=read_text(place("spec").read_text(encoding="utf-8")),
            info=DatasetInfo.read(place("dataset")),
            validation=Validation.read(place("validation")),
            candidate=_optional(CandidateSummary, place("candidate")),
            judgement=_optional(Judgement, place("judgement")),
            gates=_optional(GateResults, place("gates")),
            contract=_optional(Contract, place("contract")),
        )


R = TypeVar("R", bound=Record)


def _optional(kind: type[R], path: Path) -> R | None:
    return kind.read(path) if path.exists() else None
