"""A stand-in API server, and a client of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.client import Client
from tests.cluster.api import Api, opened


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def client(api: Api, tmp_path: Path) -> Iterator[Client]:
    with opened(api, tmp_path) as made:
        yield made
