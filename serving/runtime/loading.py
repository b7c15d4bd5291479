"""Loading a version: its bytes, its contract, its model, its plan against the store. What does not fit refuses it."""

from feature_repo.online_store.reader import PlanReader
from perennial.errors import DataError
from perennial.training import model_file
from perennial.versions.contract import Contract
from perennial.versions.folder import open_version
from serving.runtime.current import Current
from serving.runtime.predictor import Predictor
from serving.runtime.protocol.inputs import Row


def load(current: Current, name: str, online: str) -> Predictor:
    """The wanted version, checked and warmed up.

    Args:
        current: what is wanted.
        name: of the model that this process serves.
        online: path of the online store's file, or URL of its Redis.

    Raises:
        NotFoundError: there is no such folder.
        DataError: a digest or a type is wrong, it belongs to another model, or its plan does not fit the store.
        PlatformError: the store or a file cannot be read at the moment.
    """
    version = open_version(current.folder)
    if version.digest != current.digest:
        raise DataError(f"{current.folder}: is version {version.digest}, wanted was {current.digest}")
    contract = Contract.read(version.file("contract"))
    if contract.model != name:
        raise DataError(f"{current.folder}: is a version of {contract.model!r}; this process serves {name!r}")
    if contract.plan is None:
        raise DataError(f"{current.folder}: its contract has no read plan; train again with this release")
    model = model_file.load(version.file("model"))
    if int(model.n_features_in_) != len(contract.columns):
        raise DataError(
            f"{current.folder}: the model was fitted on {model.n_features_in_} columns, its contract has {len(contract.columns)}"
        )
    reader = PlanReader(contract.plan, online)
    reader.check()
    predictor = Predictor(version.digest, current.number, contract, model, contract.plan, reader)
    warm_up(predictor)
    return predictor


def warm_up(predictor: Predictor) -> None:
    """The predictor has answered once, for keys that nobody has: what is made on first use is made.

    Raises:
        DataError: it cannot answer.
        PlatformError: the store does not answer.
    """
    keys: tuple[str | int, ...] = tuple("" if key.kind == "string" else 0 for key in predictor.plan.keys)
    row = Row(keys, (None,) * len(predictor.plan.fields), 0.0)
    lookups = predictor.look_up([row, row])
    try:
        predictor.predict([row, row], lookups, lambda: "warm-up")
    except Exception as error:
        raise DataError(f"version {predictor.digest}: its model cannot answer: {type(error).__name__}: {error}") from error
