"""A model's feature service, resolved into the read plan that its contract carries. `online` carries the plan out."""

from feature_repo.online_store.feast_store import layout_of
from feature_repo.online_store.layout import Layout
from feature_repo.project import Project, load
from feature_repo.service import DTYPES, ViewInfo
from perennial.data.read_plan import PlanKey, PlanValue, PlanView, ReadPlan
from perennial.settings import Settings
from perennial.spec import Freshness, Model
from perennial.spec.columns import Column


def resolve(settings: Settings, model: Model) -> ReadPlan:
    """The read plan of a model, from the project's definitions as they are in the files.

    Raises:
        NotFoundError: there are no definitions.
        DataError: there is no such service, or a definition is wrong.
    """
    return plan_of(load(settings), model)


def plan_of(project: Project, model: Model) -> ReadPlan:
    """The read plan of a model, from a project whose definitions are loaded.

    Raises:
        DataError: there is no such service, or a definition is wrong.
    """
    spec = model.spec
    service = project.service(spec.features.service)
    limits = {limit.view: limit for limit in spec.features.freshness}
    keys = {key.name: PlanKey.model_validate(key.model_dump()) for view in service.sources for key in view.join_keys}
    return ReadPlan(
        service=service.name,
        service_digest=service.digest,
        keys=tuple(keys[name] for name in sorted(keys)),
        fields=tuple(Column(name=field.name, dtype=field.dtype, view=None) for field in spec.requests.fields),
        views=tuple(_view(project, view, limits.get(view.name)) for view in service.sources),
    )


def _view(project: Project, view: ViewInfo, limit: Freshness | None) -> PlanView:
    # Feast fills in a view's entity columns when it is applied; before, the definitions' own join keys are the same ones.
    fields = layout_of(project.views[view.name]).fields
    layout = Layout(view=view.name, join_keys=view.join_keys, fields=fields)
    return PlanView(
        view=view.name,
        join_keys=tuple(PlanKey.model_validate(key.model_dump()) for key in view.join_keys),
        fields=tuple(PlanValue.model_validate(field.model_dump()) for field in fields),
        layout=layout.digest.hex(),
        features=tuple(Column(name=field.name, dtype=DTYPES[field.kind], view=view.name) for field in view.features),
        observed_at=view.observed_at,
        max_age_hours=None if limit is None else limit.max_age_hours,
        on_stale="default" if limit is None else limit.on_stale,
    )
