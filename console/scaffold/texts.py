"""The texts of a first model: its spec and its Feast definitions, with comments on what to change and why."""

import json

import yaml

from console.scaffold.roles import Roles
from console.scaffold.sizes import Sizes
from console.scaffold.split import MAX_MISSING, Split
from perennial.spec.features import DType

REPLACE = "REPLACE"
"""Marks, in comments, what only the owner of a model can know."""
METHODS: dict[DType, str] = {"float": "wasserstein", "int": "wasserstein", "string": "jensenshannon", "bool": "mean"}
"""How the distribution of a column of each type is watched."""
MAX_WATCHED = 6
"""Columns that are watched besides the probability: each more makes a true alarm harder to tell from a false one."""
FEAST: dict[DType, str] = {"float": "Float64", "int": "Int64", "string": "String", "bool": "Bool"}
LOSS = 0.2
"""Share of the training rows that may be missing before the gate *data* stops a training."""

SPEC = """\
# Made by `perennial init {name}` from {where}: {rows:,} rows, {days} whole days with known labels, {rate:.1%} of them positive.
# Lines with {replace} hold what only you can know. The model runs with what stands there, but what it decides means nothing.
# `perennial validate {name}` checks this file; docs/spec.md explains every field.
apiVersion: perennial.dev/v1alpha1
kind: Model
metadata:
  name: {name}
spec:
  owner: {owner} # {replace}: who answers for the model
  description: {description} # {replace}: for a reader who knows no statistics

  objective:
    question: {question} # {replace}: in the words of your business
    action: Nothing yet. # {replace}: what is done when the answer is yes
    # {replace}: what one answer is worth. The threshold of the decision is computed from these: with 3 won and 1 lost, acting
    # pays from a probability of 1 in 4 on. Doing nothing counts 0.
    utility: {{unit: points, true_positive: 3.0, false_positive: -1.0}}
    success_criteria:
      # {replace}: 0.5 is chance. A first bound, so that a model of noise is stopped; raise it to what makes acting worthwhile.
      - {{name: ranks-well, metric: auc, at_least: 0.55, margin: 0.05, why: Below this the ranking is hardly better than chance.}}
    guard_rails:
      # Watched, and no gate yet: it means something once the utility above is yours. Then name it in gates.criteria as well.
      - {{name: pays, metric: utility, at_least: 0.0, margin: 50.0, why: It must earn more than always or never acting.}}
    # segments: [{key}] # groups that must not pay for the average: a column with few values is a better choice than a key

  requests: # .perennial/sources/requests.parquet: one row for each question
    source: requests
    id: {identifier} # {identifier_comment}
    fields:{fields}

  features: # looked up by {keys}; feature_repo/definitions/{name}.py defines them
    service: {service}
    # Without a limit a value may be of any age. With one, old values count as missing, in training and in serving alike:
    # freshness: [{{view: {view}, max_age_hours: 720, on_stale: default}}]

  label: # .perennial/sources/labels.parquet: one row for each outcome that is known
    source: labels
    column: {label}
    maturity_hours: {hours:g} # {replace} if it is not so: hours until the outcome is known (--label-hours)
    # never: what it means when a label never comes

  training:
    window: {{kind: expanding}} # everything since the first request
    folds: {{count: {folds}, first_share: {first_share}}} # by time; sized for {days} days
    candidates:
      - {{kind: logistic, c: [0.01, 0.1, 1.0]}}
      - {{kind: gradient_boosting, iterations: [60], learning_rate: [0.1], max_leaf_nodes: [8]}}
    calibration: {{kind: sigmoid}}

  evaluation: {{days: {evaluation_days}}} # the newest days with known labels judge the model and teach it nothing

  gates: # what a training must pass before it makes a version
    criteria: [ranks-well]
    calibration: {{max_gap: {max_gap:g}}} # between mean probability and label rate; {gap_comment}
    data:
      min_rows: {min_rows} # {training_rows:,} are there to train on: less means that rows were lost
      max_null_share: {most_missing}
      max_unlabelled_share: {max_unlabelled:g} # now {unlabelled:.1%} of the requests have no label

  monitoring: # windows of a week; what is watched for drift
    criteria: [pays]
    columns:{columns}

  retraining: {{mode: advisory, reasons: [degraded, manual]}} # a decision to train waits for `perennial decisions accept`
"""

DEFINITIONS = '''\
"""Features of the model {name}: {view}, looked up by {keys}. Made by `perennial init {name}`.

DANGER: `event_timestamp` of `.perennial/sources/{view}.parquet` is when serving can READ a row: when your job has published it.
Here it is the time of the question itself, as if each value had been there just then. Where a column was filled in or corrected
afterwards, the model learns from the future: it looks too good, and disappoints when it serves. Leave such columns out. Where a
nightly job publishes the values, write the time of that job. `{view}_observed_at` is when they were observed.
"""

from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import {types}

from feature_repo.sources import path

{entities}

{view}_view = FeatureView(
    name="{view}",
    entities=[{entity_names}],
    source=FileSource(name="{view}", path=path("{view}"), timestamp_field="event_timestamp"),
    schema=[
{schema}
        Field(name="{view}_observed_at", dtype=UnixTimestamp, tags={{"role": "observed_at"}}),
    ],
)
{service}_service = FeatureService(name="{service}", features=[{view}_view])
'''


def word(text: str) -> str:
    """A text as YAML holds it: in quotes only where it would be read as something else.

    >>> word("amount"), word("no"), word("a: b")
    ('amount', '"no"', '"a: b"')
    """
    try:
        is_plain = text.isprintable() and yaml.safe_load(f"[{text}]") == [text] and yaml.safe_load(text) == text
    except yaml.YAMLError:
        is_plain = False
    return text if is_plain and " #" not in text else json.dumps(text, ensure_ascii=False)


def service_of(model: str) -> str:
    """The name of a model's feature service."""
    return model.replace("-", "_")


def spec_text(model: str, where: str, roles: Roles, found: Split, size: Sizes) -> str:
    """The spec of a first model, with comments.

    Args:
        model: its name.
        where: the table that it was made from, in words.
        roles: what its columns are.
        found: its sources.
        size: what they are enough for.
    """
    kinds = found.dtypes
    fields = "".join(f"\n      - {{name: {word(name)}, dtype: {kinds[name]}}}" for name in roles.request_fields)
    watched = [name for name in kinds if name not in roles.keys][:MAX_WATCHED]
    columns = "".join(f"\n      - {{name: {word(name)}, method: {METHODS[kinds[name]]}}}" for name in watched)
    ids = (
        "numbered by init; a caller that sends its own will find its label"
        if roles.identifier is None
        else "a label finds its request by it"
    )
    unlabelled = max(0.2, round(size.unlabelled + 0.1, 2))
    return SPEC.format(
        name=model,
        where=where,
        rows=size.rows,
        days=size.days,
        rate=size.rate,
        replace=REPLACE,
        owner="nobody yet",
        description=word(f"Says for which {roles.keys[0]} {roles.label} will be true."),
        question=word(f"Will {roles.label} be true within {roles.label_hours:g} hours?"),
        identifier=word(roles.request_id),
        identifier_comment=ids,
        fields=fields or " [] # nothing: every value is looked up",
        keys=", ".join(roles.keys),
        key=roles.keys[0],
        service=service_of(model),
        view=found.view,
        label=word(roles.label),
        hours=roles.label_hours,
        folds=size.folds,
        first_share=size.first_share,
        evaluation_days=size.evaluation_days,
        max_gap=size.max_gap,
        gap_comment="the least that is usual"
        if size.max_gap <= 0.05
        else f"wide, because {size.evaluation_days} days have few rows",
        min_rows=max(100, int(size.training_rows * (1 - LOSS))),
        training_rows=size.training_rows,
        most_missing=MAX_MISSING,
        max_unlabelled=min(1.0, unlabelled),
        unlabelled=size.unlabelled,
        columns=f"\n      - {{name: probability, method: wasserstein}}{columns}",
    )


def definitions_text(model: str, roles: Roles, found: Split) -> str:
    """The Feast definitions of a first model: an entity for each key, one view, one service."""
    kinds = found.dtypes
    features = [name for name in kinds if name not in (*roles.keys, *roles.request_fields)]
    kind = {"string": "STRING", "int": "INT64"}
    entities = [
        f'{key}_entity = Entity(name="{key}", join_keys=["{key}"], value_type=ValueType.{kind[kinds[key]]})' for key in roles.keys
    ]
    return DEFINITIONS.format(
        name=model,
        view=found.view,
        keys=", ".join(roles.keys),
        types=", ".join(sorted({FEAST[kinds[name]] for name in features} | {"UnixTimestamp"})),
        entities="\n".join(entities),
        entity_names=", ".join(f"{key}_entity" for key in roles.keys),
        schema="\n".join(f'        Field(name="{name}", dtype={FEAST[kinds[name]]}),' for name in features),
        service=service_of(model),
    )
