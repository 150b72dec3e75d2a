from __future__ import annotations

import numpy as np
import pytest

from equipose.simulate.body import make_body
from equipose.simulate.motion import perform
from equipose.simulate.room import make_room, standing_place


@pytest.fixture(scope="session")
def room():
    return make_room(0, 1)


@pytest.fixture(scope="session")
def person(room):
    """(time, 17, 3) joints of a person who lunges, and the person's girth."""
    body = make_body(0, 3)
    place = standing_place(0, room, 3, 9)
    return perform(body, 9, 12, 0, place, room.camera_height), body.girth


@pytest.fixture
def generator():
    return np.random.default_rng(7)
