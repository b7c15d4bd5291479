"""Rollouts carried out: what the ledger wants is checked, promoted, deployed and shown. Every step may be repeated.

The ledger's row is what is wanted, the deployer's `current` file what is, MLflow's alias a projection. The order is always ledger
first, so that a crash in between is mended by the next call. The controller calls this at each tick, the command line after a
training by hand.
"""

import shutil
import tempfile
from datetime import datetime, timedelta
from pathlib import Path

from perennial import registry
from perennial.errors import DataError, NotFoundError, PerennialError
from perennial.evaluation.gates import GateResult
from perennial.ledger import Ledger, Run, Version
from perennial.loop.rollout import Observation, Rollout, champions
from perennial.moment import Moment
from perennial.settings import Settings
from perennial.spec.model import Model
from perennial.versions import store as version_store
from perennial.versions.folder import open_version
from serving.deployers import Deployer
from serving.deployers.deployer import Change
from serving.verification.gate import check_serving

TELLS_AGAIN = timedelta(hours=1)
"""How long MLflow's alias is taken for what this process made it: two calls for each model would be a third of a tick."""
_TOLD: dict[tuple[str, str], tuple[int, datetime]] = {}
"""By MLflow and model: the version that the alias was given, and when."""


def carry_out(
    settings: Settings, deployer: Deployer, ledger: Ledger, model: Model, moment: Moment
) -> tuple[Rollout | None, Change | None]:
    """Move the newest request for traffic of a model as far as it goes, and make what is deployed what the ledger wants.

    An older request that is still open is withdrawn: the newest is what is wanted.

    Args:
        settings: where versions are.
        deployer: puts a version into traffic.
        ledger: the record of what is wanted.
        model: the spec; its latency budget is checked.
        moment: the ledger's rows get `now`, what a cluster is told `wall_clock`.

    Returns:
        The newest request, none when there never was one; and what the deployer had to change, none when nothing.
    """
    rollouts, now = ledger.rollouts(model.name), moment.now
    if not rollouts:
        return None, None
    newest = rollouts[0]
    for older in rollouts[1:]:
        if older.state in ("requested", "checked"):
            ledger.move_rollout(older, _seen("withdrawn", older, now, f"version {newest.number} was requested after it"))
    if newest.state == "requested":
        result = checked(settings, ledger.version(model.name, newest.number), model.spec.serving.p95_ms)
        passed = result.verdict == "pass"
        observation = _seen("checked" if passed else "failed", newest, now, result.sentence)
        newest = ledger.move_rollout(newest, observation.model_copy(update={"loaded": passed, "passed": passed}))
    if newest.state == "checked":
        newest = ledger.move_rollout(newest, _seen("promoted", newest, now, "no step stands between it and the traffic"))
    return newest, repair(settings, deployer, ledger, model, moment.wall_clock)


def checked(settings: Settings, version: Version, p95_ms: float) -> GateResult:
    """The serving check on a registered version's own files, their digests verified."""
    try:
        opened = open_version(version_store.folder(settings, version.model, version.digest))
    except (DataError, NotFoundError) as error:
        return GateResult(name="serving", verdict="fail", sentence=f"The version cannot be opened: {error}", numbers={})
    with tempfile.TemporaryDirectory(prefix="perennial-") as folder:
        for role in ("model", "contract", "reference"):
            file = opened.file(role)
            shutil.copyfile(file, Path(folder) / f"{role}{file.suffix}")
        return check_serving(Path(folder), model=version.model, run_key=version.run_key, p95_ms=p95_ms)


def leaving(deployer: Deployer, ledger: Ledger, model: str) -> Rollout:
    """The rollout whose version a rollback leaves: the champion's; of a rollback that is not deployed yet, the same as before.

    Raises:
        NotFoundError: the model has no champion, or none before it.
        PlatformError: the deployer cannot be asked now.
    """
    deployed = deployer.deployed(model)
    rollouts = ledger.rollouts(model)
    if not (had_traffic := champions(rollouts)):
        raise NotFoundError(f"{model} has no champion; `perennial train {model}` makes one")
    current = had_traffic[0]
    for rollout in rollouts if deployed != current.digest else ():
        is_since = rollout.moved >= current.moved  # one from before the champion came is over
        if rollout.state == "rolled back" and rollout.digest == deployed and is_since:
            return rollout
    if all(champion.number == current.number for champion in had_traffic):
        raise NotFoundError(f"{model}: no champion before version {current.number} to go back to")
    return current


def attempt_for(deployer: Deployer, ledger: Ledger, version: Version) -> int | None:
    """Which attempt gives a version the traffic; none when it has it. One that is under way is that one.

    Raises:
        PlatformError: the deployer cannot be asked now.
    """
    rollouts = ledger.rollouts(version.model)
    current = next(iter(champions(rollouts)), None)
    if current is not None and current.number == version.number:
        return None if deployer.deployed(version.model) == version.digest else current.attempt
    last = max((rollout for rollout in rollouts if rollout.number == version.number), key=lambda one: one.attempt, default=None)
    if last is None:
        return 1
    return last.attempt if last.state in ("requested", "checked") else last.attempt + 1


def roll_back(
    settings: Settings, deployer: Deployer, ledger: Ledger, model: Model, left: int, moment: Moment, reason: str
) -> str | None:
    """Give the traffic of a version back to the champion before; repeated, it goes back no further.

    Args:
        settings: where MLflow is.
        deployer: puts a version into traffic.
        ledger: the record of what is wanted.
        model: the spec.
        left: number of the version that loses the traffic, as `leaving` found it.
        moment: the ledger's rows get `now`, what a cluster is told `wall_clock`.
        reason: why, in one sentence.

    Returns:
        What could not be done now and follows with the next tick; None when nothing is left to do.

    Raises:
        PlatformError: the deployer cannot be told now; the call may be repeated.
    """
    for rollout in champions(ledger.rollouts(model.name)):
        if rollout.number != left:
            break
        ledger.move_rollout(rollout, _seen("rolled back", rollout, moment.now, reason))
    champion = ledger.champion(model.name)
    assert champion is not None  # one of the others
    ledger.check_fence()
    deployer.deploy(model, champion, ledger.run(champion.run_id), moment.wall_clock)
    _TOLD.pop((settings.tracking, model.name), None)
    try:
        registry.set_champion(settings, model=model.name, number=champion.number)
    except PerennialError as error:
        return str(error)
    return None


def repair(settings: Settings, deployer: Deployer, ledger: Ledger, model: Model, wall_clock: datetime) -> Change | None:
    """Make the deployed state and MLflow's alias what the ledger says; returns what the deployer changed. `wall_clock` is UTC."""
    champion = ledger.champion(model.name)
    if champion is None:
        return None
    return restore(settings, deployer, ledger, model, champion, ledger.run(champion.run_id), wall_clock)


def restore(
    settings: Settings, deployer: Deployer, ledger: Ledger, model: Model, champion: Version, run: Run, wall_clock: datetime
) -> Change | None:
    """Make the deployed state and MLflow's alias those of the champion; returns what that changed. MLflow is told once an hour.

    Args:
        settings: where MLflow is.
        deployer: puts a version into traffic.
        ledger: its fence is looked at before each call that leaves it.
        model: the spec.
        champion: the version that has the traffic.
        run: the run that made it.
        wall_clock: UTC.
    """
    ledger.check_fence()
    change = deployer.deploy(model, champion, run, wall_clock)
    key = (settings.tracking, model.name)
    number, told = _TOLD.get(key, (0, wall_clock))
    if number == champion.number and timedelta(0) <= wall_clock - told < TELLS_AGAIN:
        return change
    ledger.check_fence()
    _TOLD.pop(key, None)
    registry.set_champion(settings, model=model.name, number=champion.number)
    _TOLD[key] = (champion.number, wall_clock)
    return change


def _seen(seen: str, rollout: Rollout, time: datetime, reason: str) -> Observation:
    return Observation.model_validate({"seen": seen, "digest": rollout.digest, "time": time, "reason": reason})
