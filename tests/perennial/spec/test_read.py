"""Reading a spec: every mistake with its line, its field and the nearest right word."""

import json
import os
import warnings
from pathlib import Path

import pytest

from perennial import digests
from perennial.errors import NotFoundError, PlatformError, SpecError
from perennial.spec import Model
from perennial.spec.columns import Column
from perennial.spec.read import Problem, check, check_against, digest, read, read_text, reread, to_json

SHIPPED = Path(__file__).parents[3] / "models" / "flight-delay.yaml"
TEXT = SHIPPED.read_text(encoding="utf-8")


def mistakes(text: str | bytes, folder: Path, name: str = "flight-delay.yaml") -> tuple[Problem, ...]:
    """The problems of a spec with this text."""
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return check(path)


def line_of(text: str, part: str) -> int:
    """The last line that holds `part`."""
    return max(number for number, line in enumerate(text.splitlines(), 1) if part in line)


TABLE = [
    # what is replaced, by what, a text that the reported line is the last to hold, the field, parts of the message
    ("owner: Passenger", "ownr: Passenger", "ownr:", "spec.ownr", ["unknown key", "allowed: owner, description", "'owner'"]),
    ("    question: Will", "    # Will", "  objective:", "spec.objective.question", ["missing", "text, not empty"]),
    ("action: Warn", "action: ~ # Warn", "action:", "spec.objective.action", ["no value", "text"]),
    ("positive: 3.0", "positive: three", "three #", "spec.objective.utility.true_positive", ["'three'", "a number"]),
    ("positive: 3.0", "positive: '3'", "'3'", "spec.objective.utility.true_positive", ["'3'", "without quotes"]),
    ("positive: 3.0", "positive: -3.0", "-3.0", "spec.objective.utility.true_positive", ["never pays", "more than false_neg"]),
    ("positive: -1.0", "positive: 1.0", "e: 1.0", "spec.objective.utility.false_positive", ["always pays", "less than true_n"]),
    ("positive: 3.0", "positive: .inf", ".inf", "spec.objective.utility.true_positive", ["not finite", ".inf"]),
    ("positive: 3.0", "positive: 3_0.5", "3_0.5", "spec.objective.utility.true_positive", ["decimal digits"]),
    ("metric: auc", "metric: auk", "auk", "spec.objective.success_criteria.1.metric", ["'auk'", "average_precision", "'auc'?"]),
    ("at_least: 0.65", "at_least: 62", "t: 62", "spec.objective.success_criteria.1.at_least", ["auc", "0 to 1"]),
    (
        "at_least: 0.65",
        "at_most: 0.9\n        at_least: 0.65",
        "at_most: 0.9",
        "spec.objective.success_criteria.1.at_most",
        ["exactly one"],
    ),
    (
        "        at_least: 0.65\n",
        "",
        "- name: ranks",
        "spec.objective.success_criteria.1",
        ["no bound", "exactly one of at_least"],
    ),
    (
        "margin: 200.0",
        "margin: 0 # 40",
        "margin: 0 #",
        "spec.objective.success_criteria.0.margin",
        ["out of range", "more than 0"],
    ),
    ("name: ranks-well", "name: ranks_well", "s_w", "spec.objective.success_criteria.1.name", ["wrong form", "'ranks-well'?"]),
    (
        "name: ranks-well",
        "name: labels-arrive",
        "name: labels-arrive",
        "spec.objective.guard_rails.1.name",
        ["name of another criterion"],
    ),
    ("[carrier, origin]", "carrier", "segments: carrier", "spec.objective.segments", ["wrong type", "a list; each item: text"]),
    ("[carrier, origin]", "[carrier, carrier]", "[carrier", "spec.objective.segments.1", ["'carrier' is named twice"]),
    ("hour, dtype: int", "hour, dtype: integer", "integer", "spec.requests.fields.2.dtype", ["one of float, int", "'int'?"]),
    ("hour, dtype: int", "label, dtype: int", "{name: label", "spec.requests.fields.2.name", ["a dataset's own column"]),
    ("hour, dtype: int", "flight_id, dtype: int", "{name: fl", "spec.requests.fields.2.name", ["'flight_id' is the id"]),
    ("hour, dtype: int", "hour", "{name: hour", "spec.requests.fields.2.dtype", ["missing", "one of float"]),
    ("view: route", "view: carrier", "{view: carrier", "spec.features.freshness.2.view", ["named twice", "one limit a view"]),
    (
        "route, max_age_hours: 2",
        "route, max_age_hours: 0",
        "route, m",
        "spec.features.freshness.2.max_age_hours",
        ["more than 0"],
    ),
    ("freshness: #", "maxAgeHours: #", "maxAge", "spec.features.maxAgeHours", ["unknown key", "service, freshness"]),
    ("maturity_hours: 24", "maturity_hours: 1:30", "1:30", "spec.label.maturity_hours", ["decimal digits", "1:30"]),
    (
        "{kind: expanding}",
        "{kind: expanding, days: 90}",
        "days: 90",
        "spec.training.window.days",
        ["of kind 'sliding'", "'expan"],
    ),
    ("{kind: expanding}", "{kind: slidng, days: 90}", "slidng", "spec.training.window.kind", ["unknown kind", "'sliding'?"]),
    ("{kind: expanding}", "{days: 90}", "{days: 90}", "spec.training.window.kind", ["missing", "one of expanding, sliding"]),
    ("{kind: expanding}", "{kind: sliding, days: 20}", "days: 20", "spec.training.window.days", ["nothing to train on", "(28)"]),
    ("{kind: expanding}", "expanding", "window:", "spec.training.window", ["wrong type", "did you mean '{kind: expanding}'?"]),
    ("- kind: random_forest", "- kind: forest", "forest", "spec.training.candidates.1.kind", ["'random_forest'?"]),
    ("rows: 20000", "rows: 60000", "60000", "spec.training.candidates.1.rows", ["out of range", "at most 50000"]),
    (
        "trees: [40]",
        "trees: 40",
        "trees:",
        "spec.training.candidates.1.trees",
        ["wrong type", "a list; each item: a whole number"],
    ),
    ("trees: [40]", "trees: []", "trees:", "spec.training.candidates.1.trees", ["empty", "at least one of them"]),
    ("c: [0.01, 0.1, 1.0]", "c: [0.01, 0.1, 0]", "0.1, 0]", "spec.training.candidates.0.c.2", ["out of range", "more than 0"]),
    ("iterations: [120]", "iterations: [120.5]", "120.5", "spec.training.candidates.2.iterations.0", ["whole number"]),
    ("iterations: [120]", "trees: [120]", "trees: [120]", "spec.training.candidates.2.trees", ["of kind 'random_forest'"]),
    (
        "calibration: {kind: sigmoid}",
        "calibration: none",
        "none",
        "spec.training.calibration",
        ["kind: none, sigmoid", "'{kind: none}'?"],
    ),
    ("seed: 20130101", "seed: 2013-01-01", "2013-", "spec.training.seed", ["date", "quotes"]),
    ("seed: 20130101", "seed: 0o17", "0o17", "spec.training.seed", ["wrong type", "a whole number"]),
    ("seed: 20130101", "seed: 0017", "0017", "spec.training.seed", ["decimal digits"]),
    ("evaluation: {days: 28", "evaluation: {days: 10", "min_rows: 500", "spec.gates.segments.min_days", ["never judge", "(10)"]),
    ("resamples: 1000", "resamples: true", "resamples:", "spec.evaluation.resamples", ["wrong type", "true", "whole number"]),
    ("confidence: 0.95", "confidence: 95", "confidence: 95", "spec.evaluation.confidence", ["out of range", "less than 1"]),
    ("data: {min_rows", "dta: {min_rows", "dta:", "spec.gates.dta", ["unknown key", "did you mean 'data'?"]),
    (
        "criteria: [earns-its-keep, ranks",
        "criteria: [earns-keep, ranks",
        "earns-keep",
        "spec.gates.criteria.0",
        ["'earns-its-keep'?"],
    ),
    ("keep, ranks-well, h", "keep, h", "- name: ranks", "spec.objective.success_criteria.1.name", ["no gate or monitor checks"]),
    ("log_required: false", "log_required: no", "log_required", "spec.serving.log_required", ["write true, false or quotes"]),
    ("p95_ms: 50", "p95_ms: fast", "fast", "spec.serving.p95_ms", ["'fast'", "a number, more than 0"]),
    ("distance, method: w", "distance, method: Wassertein} # w", "tein}", "spec.monitoring.columns.7.method", ["'wasserstein'?"]),
    (
        "name: distance, method",
        "name: weather_visib, method",
        "weather_visib, method",
        "spec.monitoring.columns.7.name",
        ["named twice"],
    ),
    ("max_age_days: 61", "maxAgeDays: 61", "maxAge", "spec.retraining.maxAgeDays", ["unknown key", "'max_age_days'?"]),
    ("    max_age_days: 61", "    # none", "  retraining:", "spec.retraining.max_age_days", ["missing, though 'scheduled'"]),
    ("[degraded, scheduled, manual]", "[degraded, manual]", "max_age_days", "spec.retraining.max_age_days", ["given, though"]),
    ("windows_required: 2", "windows_required: 4", "windows_r", "spec.retraining.windows_required", ["at most windows_c"]),
    ("mode: automatic", "mode: automatc", "automatc", "spec.retraining.mode", ["advisory or automatic", "'automatic'?"]),
    ("  per_quarter: 3", "  per_quarter: 3\n    days: 9", "days: 9", "spec.retraining.days", ["unknown key"]),
    (
        "  per_quarter: 3",
        "  per_quarter: 3\n    p95_ms: 9",
        "ms: 9",
        "spec.retraining.p95_ms",
        ["did you mean 'spec.serving.p95_ms'"],
    ),
    ("/v1alpha1", "/v1", "apiVersion", "apiVersion", ["'perennial.dev/v1'", "allowed: perennial.dev/v1alpha1"]),
    ("kind: Model", "kind: model", "kind: model", "kind", ["unknown word", "did you mean 'Model'?"]),
    (
        "name: flight-delay\n",
        "name: flight-dely\n",
        "flight-dely",
        "metadata.name",
        ["not the name of the file", "'flight-delay'?"],
    ),
    ("name: flight-delay\n", "name: Flight Delay\n", "Flight Delay", "metadata.name", ["wrong form", "'flight-delay'?"]),
    ("name: flight-delay\n", "nam: flight-delay\n", "metadata:", "metadata.name", ["missing"]),
    # what YAML may say and a spec may not
    ("  owner: P", "  owner: me\n  owner: P", "owner: P", "spec.owner", ["the key is already in line", "each key once"]),
    ("distance, dtype: float}", "distance, dtype: &f float}", "&f", "spec.requests.fields.0.dtype", ["an anchor"]),
    ("owner: Passenger care, New York airports", "owner: *me", "*me", "spec.owner", ["an alias", "the value itself"]),
    ("  serving: {", "  serving: {<<: {}, ", "<<", "spec.serving.<<", ["a merge key"]),
    ("  owner: P", "  owner: !!str P", "!!str", "spec.owner", ["a tag", "found !!str"]),
    ("  owner: P", "  owner: !!python/name:os.system P", "!!py", "spec.owner", ["a tag"]),
    ("  owner: P", "\towner: P", "\towner", "", ["not YAML", "a tab; indent with spaces"]),
    ("question: Will", "question: see: Will", "see: Will", "", ["not YAML", "in quotes"]),
    ("    segments: [c", "    segments: [[c", "  requests:", "", ["not YAML"]),
    ("  per_quarter: 3", "  per_quarter: 3\n---\nkind: Model", "---", "", ["a second document", "one spec a file"]),
]


@pytest.mark.parametrize(
    ("old", "new", "line", "field", "parts"), TABLE, ids=[f"{row[3] or 'text'}-{i}" for i, row in enumerate(TABLE)]
)
def test_a_mistake_is_said_with_its_place(old: str, new: str, line: str, field: str, parts: list[str], tmp_path: Path) -> None:
    text = TEXT.replace(old, new, 1)
    assert text != TEXT
    found = mistakes(text, tmp_path)
    said = "\n".join(map(str, found))
    mine = [problem for problem in found if problem.field == field]
    assert mine, said
    assert mine[0].line == line_of(text, line), said
    for part in parts:
        assert part in str(mine[0])
    assert str(mine[0]).startswith(f"{tmp_path / 'flight-delay.yaml'}:{mine[0].line}: {field}")


def test_the_table_seeds_thirty_mistakes_and_more() -> None:
    assert len({(row[0], row[1]) for row in TABLE}) >= 60


def test_all_mistakes_of_a_file_are_in_one_report(tmp_path: Path) -> None:
    text = TEXT
    for old, new in [
        ("owner: Passenger", "ownr: Passenger"),
        ("metric: auc", "metric: auk"),
        ("hour, dtype: int", "hour, dtype: integer"),
        ("{kind: expanding}", "{kind: slidng}"),
        ("seed: 20130101", "seed: '7'"),
        ("log_required: false", "log_required: off"),
        ("windows_required: 2", "windows_required: 0"),
        ("name: flight-delay\n", "name: other\n"),
        ("mode: automatic", "mode: *auto"),
    ]:
        text = text.replace(old, new, 1)
    found = mistakes(text, tmp_path)
    assert [problem.field for problem in found] == [
        "metadata.name",
        "spec.owner",
        "spec.ownr",
        "spec.objective.success_criteria.1.metric",
        "spec.requests.fields.2.dtype",
        "spec.training.window.kind",
        "spec.training.seed",
        "spec.serving.log_required",
        "spec.retraining.mode",
        "spec.retraining.windows_required",
    ]
    assert [problem.line for problem in found] == sorted(problem.line for problem in found)
    with pytest.raises(SpecError) as raised:
        read(tmp_path / "flight-delay.yaml")
    assert str(raised.value).splitlines() == [str(problem) for problem in found]


def test_rules_between_fields_are_reported_together(tmp_path: Path) -> None:
    text = TEXT.replace("windows_required: 2", "windows_required: 4").replace(
        "[degraded, scheduled, manual]", "[degraded, degraded]"
    )
    text = text.replace("positive: 3.0", "positive: -3.0").replace("positive: -1.0", "positive: 1.0")
    assert [problem.field for problem in mistakes(text, tmp_path)] == [
        "spec.objective.utility.true_positive",
        "spec.objective.utility.false_positive",
        "spec.retraining.reasons.1",
        "spec.retraining.max_age_days",
        "spec.retraining.windows_required",
    ]


def test_the_format_of_a_problem_is_kept(tmp_path: Path) -> None:
    (found,) = mistakes(TEXT.replace("    min_rank_agreement: 0.95", "    min_rank_agreement: 0.95\n    crieria: []"), tmp_path)
    assert str(found).endswith(
        ": spec.gates.crieria: unknown key; allowed: criteria, non_inferiority, segments, calibration, data, min_rank_agreement; "
        "did you mean 'criteria'?"
    )


@pytest.mark.parametrize(
    ("data", "line", "message"),
    [
        (b"", 1, "the file holds nothing"),
        (b"# a comment\n\n", 1, "the file holds nothing"),
        (b"---\n", 1, "the file holds nothing"),
        (b"- a\n- b\n", 1, "wrong type; found a list of 2; allowed: a mapping with apiVersion, kind, metadata, spec"),
        (b"word\n", 1, "wrong type; found 'word'"),
        (b"a: 1\nb: \xff\xfe\n", 2, "not UTF-8; found byte 0xff"),
        (b"a: 1\nb: \x00\n", 2, "not YAML: a character that no text may hold; found #x0000"),
        (b"a: 1\n? [b, c]\n: d\n", 2, "a key that is no text"),
        (b"a: " + b"[" * 60 + b"]" * 60 + b"\n", 1, "nested too deep"),
        (b"a: '" + b"x" * 1_000_001 + b"'\n", 1, "too large for a spec"),
        (b"a: [1, 2\n", 2, "not YAML"),
    ],
)
def test_a_file_that_is_no_spec_is_said_to_be_none(data: bytes, line: int, message: str, tmp_path: Path) -> None:
    found = mistakes(data, tmp_path)
    mine = [problem for problem in found if message in str(problem)]
    assert mine, "\n".join(map(str, found))
    assert mine[0].line == line


def test_a_missing_file_is_not_found_and_a_folder_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"gone\.yaml: no such file"):
        read(tmp_path / "gone.yaml")
    with pytest.raises(PlatformError, match="cannot be read"):
        check(tmp_path)


def test_the_shipped_spec_is_right() -> None:
    assert check(SHIPPED) == ()
    model = read(SHIPPED)
    assert model.name == "flight-delay"
    assert {candidate.kind for candidate in model.spec.training.candidates} == {"logistic", "random_forest", "gradient_boosting"}


@pytest.mark.parametrize("form", [TEXT.replace("\n", "\r\n"), "\ufeff" + TEXT, to_json(read(SHIPPED))])
def test_other_forms_of_the_text_mean_the_same(form: str, tmp_path: Path) -> None:
    path = tmp_path / "flight-delay.yaml"
    path.write_bytes(form.encode())
    assert read(path) == read(SHIPPED)


def test_a_spec_survives_being_a_parameter() -> None:
    model = read(SHIPPED)
    odd = model.model_copy(update={"spec": model.spec.model_copy(update={"owner": 'Zoë 🛫 \x7f "it\'s" # no: comment'})})
    assert read_text(to_json(odd)) == odd
    assert read_text(TEXT) == model
    assert "\n" not in to_json(model)


def test_a_wrong_parameter_is_refused_with_every_mistake() -> None:
    text = to_json(read(SHIPPED))
    with pytest.raises(SpecError, match=r"^spec:1: spec\.training\.seed: wrong type; found '7'"):
        read_text(text.replace('"seed":20130101', '"seed":"7"'))
    with pytest.raises(SpecError, match=r"^run 7:1: .*the key is already in line 1"):
        read_text(text.replace('"seed":20130101', '"seed":20130101,"seed":7'), "run 7")
    with pytest.raises(SpecError, match="not finite"):
        read_text(text.replace('"margin":200.0', '"margin":.nan'))
    with pytest.raises(SpecError):
        read_text(text.replace('"margin":200.0', '"margin":NaN'))
    with pytest.raises(SpecError):
        read_text("[" * 100_000)


def test_metadata_tolerates_what_a_server_adds_and_the_digest_ignores_it(tmp_path: Path) -> None:
    added = "name: flight-delay\n  uid: 1b2c\n  managedFields: [{manager: kubectl}]\n  labels: {team: care}\n"
    text = TEXT.replace("name: flight-delay\n", added, 1)
    assert mistakes(text, tmp_path) == ()
    model = read(tmp_path / "flight-delay.yaml")
    assert model.metadata.labels == {"team": "care"}
    assert digest(model) == digest(read(SHIPPED))


def test_the_digest_changes_with_what_the_model_is() -> None:
    assert digest(read_text(TEXT.replace("seed: 20130101", "seed: 1"))) != digest(read(SHIPPED))
    assert digest(read_text(TEXT.replace("name: flight-delay\n", "name: other\n"))) != digest(read(SHIPPED))
    assert digest(read_text(TEXT.replace("margin: 200.0", "margin: 200 # less would be noise"))) == digest(read(SHIPPED))


OLD = TEXT.replace("[degraded, scheduled, manual]", "[hurt, scheduled, manual]")


def test_an_old_word_is_read_with_a_warning_that_names_file_and_new_word(tmp_path: Path) -> None:
    path = tmp_path / "flight-delay.yaml"
    path.write_text(OLD, encoding="utf-8")
    line = line_of(OLD, "[hurt, ")
    said = rf"flight-delay\.yaml:{line}: spec\.retraining\.reasons: 'hurt' is an old word; write 'degraded'"
    with pytest.warns(FutureWarning, match=said):
        model = read(path)
    assert model == read(SHIPPED) and model.spec.retraining.reasons == ("degraded", "scheduled", "manual")


def test_no_new_word_is_warned_of_and_an_old_one_elsewhere_is_none(tmp_path: Path) -> None:
    path = tmp_path / "flight-delay.yaml"
    path.write_text(TEXT.replace("owner: Passenger", "owner: hurt # Passenger"), encoding="utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read(path).spec.owner == "hurt"


def test_a_stored_spec_with_old_words_is_read_in_silence_and_every_digest_stays() -> None:
    stored = to_json(read(SHIPPED)).replace('"degraded"', '"hurt"')
    assert '"hurt"' in stored
    assert read_text(stored) == read(SHIPPED)
    before = {"name": "flight-delay", "spec": json.loads(stored)["spec"]}
    assert digest(read(SHIPPED)) == digests.of_json(before)


NAMES = [column.name for column in read(SHIPPED).spec.monitoring.columns if column.name not in ("probability", "distance")]
COLUMNS = [Column(name=name, dtype="string" if "manu" in name else "float", view=name.split("_")[0]) for name in NAMES]
VIEWS = ["weather", "plane", "carrier", "route"]
KEYS = ["carrier", "dest", "origin", "tailnum"]


def against(model: Model, path: Path, columns: list[Column] = COLUMNS, views: list[str] = VIEWS) -> list[str]:
    """What is wrong with a spec beside its service, without the file's name."""
    return [str(problem).removeprefix(f"{path}:") for problem in check_against(model, columns, views, KEYS, path)]


def test_the_shipped_spec_fits_its_service() -> None:
    assert against(read(SHIPPED), SHIPPED) == []


def test_a_feature_that_does_not_exist_is_said_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "flight-delay.yaml"
    text = TEXT.replace("[carrier, origin]", "[carier, origin]").replace("{view: route", "{view: routes")
    text = text.replace("name: weather_visib,", "name: weather_visibility,").replace("name: hour,", "name: route_late_rate_7d,")
    text = text.replace("name: weekday,", "name: route_observed_at,")
    path.write_text(text, encoding="utf-8")
    found = against(read(path), path)
    places = ("carier", "route_observed_at", "name: route_late_rate_7d, dtype", "routes", "visibility")
    assert [int(said.split(":")[0]) for said in found] == [line_of(text, part) for part in places]
    assert "spec.objective.segments.0: 'carier' is no feature, request-time field or join key" in found[0]
    assert found[0].endswith("did you mean 'carrier'?")
    assert "spec.requests.fields.1.name: 'route_observed_at' is also a view's observation time of 'flight_delay'" in found[1]
    assert "spec.requests.fields.2.name: 'route_late_rate_7d' is also a feature of 'flight_delay'" in found[2]
    assert "the service 'flight_delay' has no view 'routes'; allowed: weather, plane, carrier, route;" in found[3]
    assert found[3].endswith("did you mean 'route'?")
    assert "'weather_visibility' is no feature or request-time field" in found[4]
    assert found[4].endswith("did you mean 'weather_visib'?")


def test_without_a_file_the_model_is_named() -> None:
    found = check_against(read(SHIPPED), COLUMNS, ["weather", "plane", "carrier"], KEYS)
    assert str(found[0]).startswith("flight-delay:0: spec.features.freshness.2.view: the service")


def test_request_time_fields_among_the_columns_are_passed_over() -> None:
    sent = [Column(name=field.name, dtype=field.dtype, view=None) for field in read(SHIPPED).spec.requests.fields]
    assert against(read(SHIPPED), SHIPPED, COLUMNS + sent) == []


def test_a_file_that_is_read_again_is_parsed_when_its_bytes_differ(tmp_path: Path) -> None:
    path = tmp_path / "flight-delay.yaml"
    path.write_text(TEXT)
    first = reread(path)
    assert first == read(path) and reread(path) is first
    times = path.stat()
    path.write_text(TEXT.replace("per_quarter: 3", "per_quarter: 2"))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert reread(path).spec.retraining.per_quarter == 2, "size and time say nothing"
    path.write_text("kind: Model\n")
    for _ in range(2):
        with pytest.raises(SpecError, match=r"flight-delay\.yaml"):
            reread(path)
