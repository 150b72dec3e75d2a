"""One toy world, read once."""

import pytest

from equipose.separation.readings import collect
from equipose.separation.separator import spread
from separation.toy import toy, toy_model, trusted_toy


@pytest.fixture(scope="session")
def model():
    return toy_model()


@pytest.fixture(scope="session")
def trusted(model):
    data = trusted_toy()
    return collect(model, data, spread(len(data), 300))


@pytest.fixture(scope="session")
def clean(model):
    return collect(model, toy())
