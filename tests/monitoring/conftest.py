"""The watched model, made once: six quiet weeks after its training, all answered and labelled."""

import pytest

from tests.monitoring.world import END, World, make_world, requests_of


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    made = make_world(tmp_path_factory.mktemp("watched"))
    requests = requests_of(END, 42, 2)
    made.answer(requests)
    made.publish_labels(requests)
    return made
