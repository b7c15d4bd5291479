"""Layouts that are kept: a version that was trained before a definition changed goes on reading values of its own layout.

Which layouts some version needs, and how their values stay fresh as long as the sources still have every column of them.
"""

from collections.abc import Callable
from datetime import datetime

from feast import FeatureStore, FeatureView
from feast.repo_config import RepoConfig

from feature_repo.asof import AsofOfflineStore, source_of
from feature_repo.online_store.database import open_database
from feature_repo.online_store.layout import Layout
from feature_repo.online_store.packing import pack
from feature_repo.reading.kinds import has_kind
from feature_repo.reading.source_checks import check_stretch
from feature_repo.sources import TIME, files, frame_of
from perennial.errors import DataError, NotFoundError, PlatformError
from perennial.ledger import Ledger
from perennial.settings import Settings
from perennial.versions import store as version_store
from perennial.versions.contract import Contract
from perennial.versions.folder import open_version

NEEDING = ("requested", "checked", "champion")
"""States of a rollout whose version may be served: it asks for traffic, has it, or is what a rollback goes back to."""


def purge(settings: Settings) -> str:
    """Drop the layouts that no version needs which serves, asks for traffic, or can be rolled back to.

    Nothing is dropped where a version cannot be read: nobody knows then what it needs.

    Returns:
        What is kept for want of knowledge, and the remedy; empty where everything is known.

    Raises:
        PlatformError: ledger or online store does not answer.
    """
    with open_database(settings.online_store, write=False) as database:
        current = {(view, database.layout(view).digest) for view in database.views()}
        if all((layout.view, layout.digest) in current for layout in database.held()):
            return ""
    try:
        needed = needed_by_versions(settings)
    except (DataError, NotFoundError, PlatformError) as error:
        return (
            f"every layout of the online store is kept, as nobody knows which of them a version needs: {error}; apply again when "
            "that is mended"
        )
    with open_database(settings.online_store) as database:
        database.purge(needed)
    return ""


def needed_by_versions(settings: Settings) -> set[tuple[str, bytes]]:
    """View and digest of each layout that a version may read.

    The version that a model's last rollout was about is one of them in any state: it may still serve while the one that takes its
    place is put in service.

    Raises:
        DataError: a version's folder is damaged.
        NotFoundError: it is gone.
        PlatformError: ledger or version store does not answer.
    """
    layouts: set[tuple[str, bytes]] = set()
    digests: set[tuple[str, str]] = set()
    with Ledger.open(settings.ledger) as ledger:
        for model in ledger.models():
            rollouts = ledger.rollouts(model)
            digests |= {(model, rollout.digest) for rollout in rollouts if rollout.state in NEEDING}
            digests |= {(model, rollout.digest) for rollout in rollouts[:1]}
    for model, digest in sorted(digests):
        contract = Contract.read(open_version(version_store.folder(settings, model, digest)).file("contract"))
        layouts |= {(view.view, bytes.fromhex(view.layout)) for view in (contract.plan.views if contract.plan else ())}
    return layouts


def materialize(settings: Settings, store: FeatureStore, start: datetime, end: datetime, progress: Callable[[str], None]) -> None:
    """The kept layouts hold, for each key, the newest row published in (start, end], where their source still has every column.

    Where it has not, the values of such a layout age, and the version that reads them treats them by its freshness limits.

    Args:
        settings: where the online store is.
        store: Feast, opened.
        start: inclusive begin, UTC.
        end: inclusive end, UTC.
        progress: told one sentence for each kept layout.
    """
    with open_database(settings.online_store, write=False) as database:
        current = {database.layout(view).name for view in database.views()}
        kept_layouts = [layout for layout in database.held() if layout.name not in current]
    if not kept_layouts:
        return
    views = {str(view.name): view for view in store.list_feature_views()}
    for layout in kept_layouts:
        missing = missing_columns(store.config, views.get(layout.view), layout)
        if missing:
            progress(f"{layout.view}: values of the layout {layout.digest.hex()}, which a version still reads, age: {missing}")
            continue
        progress(f"{layout.view}: the same for the layout {layout.digest.hex()}, which a version still reads")
        _write(settings, store.config, views[layout.view], layout, start, end)


def missing_columns(config: RepoConfig, view: FeatureView | None, layout: Layout) -> str:
    """Why values of a layout cannot be read from its view's source any more; empty where they can."""
    if view is None or view.batch_source is None:
        return "no definition has the view any more"
    with files(source_of(config, view.batch_source)) as source_files:
        schema = source_files.schema
    absent_names = [field.name for field in (*layout.join_keys, *layout.fields) if field.name not in schema.names]
    if absent_names:
        return f"its source has no column {', '.join(absent_names)} any more"
    changed_fields = [
        field for field in (*layout.join_keys, *layout.fields) if not has_kind(schema.field(field.name).type, field.kind)
    ]
    return ", ".join(
        f"its source has {field.name} as {schema.field(field.name).type}, not {field.kind}" for field in changed_fields
    )


def _write(settings: Settings, config: RepoConfig, view: FeatureView, layout: Layout, start: datetime, end: datetime) -> None:
    source = view.batch_source
    assert source is not None  # it has every column
    check_stretch(source_of(config, source), layout, source.timestamp_field, start, end, settings.threads)
    job = AsofOfflineStore.pull_latest_from_table_or_query(
        config,
        source,
        [key.name for key in layout.join_keys],
        [field.name for field in layout.fields],
        source.timestamp_field,
        None,
        start,
        end,
    )
    frame = frame_of(job.to_arrow()).rename(columns={source.timestamp_field: TIME})
    with open_database(settings.online_store) as database:
        database.write(layout, pack(layout, frame))
