"""A version folder is whole, immutable and checked to the last byte."""

import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from perennial import digests
from perennial.errors import DataError, NotFoundError, PlatformError
from perennial.versions.folder import (
    DRAFT,
    MANIFEST,
    REFERENCE_ROWS,
    Environment,
    Published,
    environment,
    open_version,
    publish,
    remove_drafts,
)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "m.skops").write_bytes(b"model" * 100)
    (folder / "c.json").write_text("{}")
    (folder / "roc.png").write_bytes(b"png")
    pq.write_table(pa.table({"x": range(10)}), folder / "r.parquet")
    names = {"model": "m.skops", "contract": "c.json", "reference": "r.parquet", "plot_roc": "roc.png"}
    return {role: folder / name for role, name in names.items()}


@pytest.fixture
def published(files: dict[str, Path], tmp_path: Path) -> Published:
    return publish(files, "delay", "k" * 64, tmp_path / "versions")


def test_files_are_named_by_role_and_digest_and_the_folder_by_its_manifest(published: Published, files: dict[str, Path]) -> None:
    model = published.path / f"model-{digests.of_file(files['model'])[:16]}.skops"
    assert model.read_bytes() == files["model"].read_bytes()
    assert published.digest == published.path.name == digests.of_file(published.path / MANIFEST)
    assert published.path.parent.name == "delay"
    opened = open_version(published.path)
    assert opened.file("model") == model
    assert (opened.digest, opened.manifest.model, opened.manifest.run_key) == (published.digest, "delay", "k" * 64)
    assert opened.has("plot_roc") and not opened.has("card")
    with pytest.raises(NotFoundError, match="no file for 'card'; it holds contract, model, plot_roc, reference"):
        opened.file("card")


def test_publishing_again_changes_nothing_and_other_bytes_make_another_folder(
    published: Published, files: dict[str, Path], tmp_path: Path
) -> None:
    before = published.path.stat().st_mtime_ns
    again = publish(dict(reversed(files.items())), "delay", "k" * 64, tmp_path / "versions")
    assert again == published
    assert published.path.stat().st_mtime_ns == before
    files["model"].write_bytes(b"other")
    other = publish(files, "delay", "k" * 64, tmp_path / "versions")
    assert other != published
    assert sorted(path.name for path in published.path.parent.iterdir()) == sorted([published.digest, other.digest])


def test_publishers_at_the_same_time_make_one_folder(files: dict[str, Path], tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: publish(files, "delay", "k", tmp_path / "versions"), range(16)))
    assert len(found) == 1
    assert [path.name for path in (tmp_path / "versions" / "delay").iterdir()] == [found.pop().digest]


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[7] ^= 1
    path.write_bytes(content)


def first(folder: Path, beginning: str) -> Path:
    return next(folder.glob(f"{beginning}-*"))


def relink(folder: Path) -> None:
    path = first(folder, "model")
    path.rename(folder.parent / "elsewhere")
    path.symlink_to(folder.parent / "elsewhere")


def rewrite(folder: Path, change: Callable[[dict[str, object]], None]) -> None:
    """A manifest changed by one who also renames the folder to its new digest."""
    content = json.loads((folder / MANIFEST).read_text())
    change(content)
    (folder / MANIFEST).write_text(json.dumps(content))
    folder.rename(folder.parent / digests.of_file(folder / MANIFEST))


def point_outside(folder: Path) -> None:
    def change(content: dict[str, object]) -> None:
        content["files"]["model"]["file"] = "../../secret-0123456789abcdef.skops"  # type: ignore[index]

    rewrite(folder, change)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda folder: flip(first(folder, "model")), r"model-.*\.skops: its digest is .*, the manifest says"),
        (lambda folder: first(folder, "model").write_bytes(b"short"), r"5 bytes, the manifest says 500"),
        (lambda folder: first(folder, "reference").unlink(), r"reference-.*: missing; the manifest lists it as reference"),
        (
            lambda folder: (folder / "extra.py").write_text("x"),
            r"extra\.py: not in the manifest; a version folder holds nothing else",
        ),
        (lambda folder: (folder / "sub").mkdir(), r"sub: not in the manifest"),
        (relink, r"model-.*: not an ordinary file; links are not followed"),
        (lambda folder: (folder / MANIFEST).unlink(), r"manifest\.json: not a file"),
        (lambda folder: (folder / MANIFEST).write_text("{"), r"manifest\.json: not a manifest"),
        (lambda folder: flip(folder / MANIFEST), r"manifest\.json: (not a manifest|its digest)"),
        (
            lambda folder: folder.rename(folder.with_name("0" * 64)),
            r"its digest is .*, the folder is named 000.*: it was changed or moved",
        ),
        (
            lambda folder: rewrite(folder, lambda content: content.update(format_version=2)),
            r"format version 2; this release reads 1",
        ),
        (point_outside, r"not a manifest: .*files\.model\.file"),
        (
            lambda folder: rewrite(folder, lambda content: content["files"].update(card=content["files"].pop("model"))),  # type: ignore[attr-defined]
            r"the name does not fit the role 'card'",
        ),
    ],
)
def test_a_spoiled_folder_is_refused(published: Published, spoil: Callable[[Path], object], reason: str) -> None:
    root = published.path.parent
    spoil(published.path)
    (folder,) = [path for path in root.iterdir() if path.is_dir()]
    with pytest.raises(DataError, match=f"(?s){reason}"):
        open_version(folder)


def test_a_broken_folder_in_the_place_is_not_taken_for_the_version(
    published: Published, files: dict[str, Path], tmp_path: Path
) -> None:
    flip(first(published.path, "model"))
    with pytest.raises(DataError, match="its digest is"):
        publish(files, "delay", "k" * 64, tmp_path / "versions")


def test_a_publication_that_breaks_off_leaves_nothing(files: dict[str, Path], tmp_path: Path) -> None:
    root = tmp_path / "versions"
    (root / "delay").parent.mkdir()
    (root / "delay").write_text("in the way")
    with pytest.raises(PlatformError, match=r"version .*delay/.*; make .*versions writable, or set PERENNIAL_STATE elsewhere"):
        publish(files, "delay", "k", root)
    assert [path.name for path in root.iterdir()] == ["delay"]


def test_drafts_of_killed_publications_are_removed_and_younger_ones_and_versions_are_not(
    published: Published, tmp_path: Path
) -> None:
    old, young = (published.path.parent / f"{DRAFT}{name}" for name in ("old", "young"))
    begun = datetime(2024, 5, 1, tzinfo=UTC)
    for folder, hours in ((old, -1), (young, 1), (published.path, -1)):
        folder.mkdir(exist_ok=True)
        touched = begun.timestamp() + hours * 3600
        os.utime(folder, (touched, touched))
    assert remove_drafts("delay", tmp_path / "versions", begun) == (old,)
    assert sorted(published.path.parent.iterdir()) == sorted([young, published.path])
    assert remove_drafts("never-published", tmp_path / "versions", begun) == ()


def test_what_is_no_version_is_not_published(files: dict[str, Path], tmp_path: Path) -> None:
    root = tmp_path / "versions"
    with pytest.raises(DataError, match="no file for contract; required: model, contract"):
        publish({"model": files["model"]}, "delay", "k", root)
    with pytest.raises(DataError, match="unknown role 'pickle'; allowed: model, contract"):
        publish({**files, "pickle": files["model"]}, "delay", "k", root)
    with pytest.raises(DataError, match=r"the role 'model' takes a \.skops file"):
        publish({**files, "model": files["contract"]}, "delay", "k", root)
    with pytest.raises(NotFoundError, match="no such file; expected the version's card"):
        publish({**files, "card": tmp_path / "card.md"}, "delay", "k", root)
    pq.write_table(pa.table({"x": range(REFERENCE_ROWS + 1)}), files["reference"])
    with pytest.raises(DataError, match="5001 rows; a reference sample has at most 5000"):
        publish(files, "delay", "k", root)
    files["reference"].write_text("not parquet at all")
    with pytest.raises(DataError, match="not a Parquet file"):
        publish(files, "delay", "k", root)
    assert not root.exists()


def test_a_folder_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no such version folder"):
        open_version(tmp_path / "x")


def test_fifty_megabytes_are_checked_in_a_moment(files: dict[str, Path], tmp_path: Path) -> None:
    files["model"].write_bytes(b"0123456789" * 5_000_000)
    path = publish(files, "delay", "k", tmp_path / "versions").path
    begin = time.perf_counter()
    open_version(path)
    assert time.perf_counter() - begin < 1  # measured: 0.04 s; a loaded machine is slower
    shutil.rmtree(path)


def test_the_environment_names_exact_versions(tmp_path: Path) -> None:
    environment().write(tmp_path / "environment.json")
    found = Environment.read(tmp_path / "environment.json")
    assert found.python == platform.python_version()
    assert found.distributions["scikit-learn"] == "1.9.1"
    assert list(found.distributions) == sorted(found.distributions)


def test_reading_a_version_needs_neither_pandas_nor_pyarrow(published: Published) -> None:
    code = (
        "import sys; from pathlib import Path; from perennial.versions.folder import open_version;"
        "open_version(Path(sys.argv[1]));"
        "print(*{name.split('.')[0] for name in sys.modules} & {'pandas', 'pyarrow', 'numpy', 'sklearn'})"
    )
    found = subprocess.run([sys.executable, "-c", code, str(published.path)], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == ""
