"""`perennial validate`: every mistake of the specs, alone and against the features that exist."""

from datetime import datetime
from pathlib import Path

from console.display.output import console, print_json
from perennial.errors import NotFoundError
from perennial.settings import Settings
from perennial.spec.problem import Problem
from perennial.spec.read import check, check_against, read


def check_specs(settings: Settings, names: list[str], now: datetime, json: bool) -> int:
    """Check the named specs, else all; print every problem and what has a consequence; returns the exit code.

    Args:
        settings: where specs, definitions and requests are.
        names: models; all when empty.
        now: the real time.
        json: as JSON, by path: the mistakes, and the notes of a spec without any.

    Raises:
        NotFoundError: there is no spec of that name, or none at all.
    """
    paths = [settings.models / f"{name}.yaml" for name in names] or settings.specs
    if not paths:
        raise NotFoundError(f"{settings.models}: no model spec; write models/<name>.yaml, docs/spec.md says what it holds")
    for path in paths:
        if not path.exists():
            spec_names = ", ".join(spec.stem for spec in settings.specs) or "none"
            raise NotFoundError(f"{path}: no such spec; there are: {spec_names}")
    problems = {path: check(path) or _against_features(settings, path) for path in paths}
    notes = {path: () if mistakes else _notes(settings, path, now) for path, mistakes in problems.items()}
    if json:
        print_json(
            {
                str(path): {"mistakes": [str(problem) for problem in mistakes], "notes": list(notes[path])}
                for path, mistakes in problems.items()
            }
        )
        return 2 if any(problems.values()) else 0
    for path, mistakes in problems.items():
        out = console()
        for problem in mistakes:
            out.print(str(problem), soft_wrap=True)
        out.print(f"{path}: {f'{len(mistakes)} mistakes' if mistakes else 'valid'}", soft_wrap=True)
        for note in notes[path]:
            out.print(f"  note: {note}", soft_wrap=True)
    return 2 if any(problems.values()) else 0


def _notes(settings: Settings, path: Path, now: datetime) -> tuple[str, ...]:
    """What is allowed, and has a consequence that its owner should know: what no window of the model could be judged by."""
    from monitoring.reference.traffic import blindness

    return blindness(settings, read(path), now)


def _against_features(settings: Settings, path: Path) -> tuple[Problem, ...]:
    """Every mistake that only shows beside the feature service that the spec names."""
    from feature_repo import (
        store,  # the definitions import Feast, which costs seconds: a mistake in the spec alone is told at once
    )

    model = read(path)
    service = store.describe(settings, model.spec.features.service)
    return check_against(model, service.columns, service.views, service.join_keys, path)
