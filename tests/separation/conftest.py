"""One toy world, read once, and one room of simulated people."""

import numpy as np
import pytest

from equipose.separation.readings import collect
from equipose.separation.separator import spread
from separation.toy import toy, toy_model, trusted_toy

SIMULATED = ("rgb", "lidar", "wifi")


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


@pytest.fixture(scope="session")
def room(tmp_path_factory):
    """(training, trusted): three people of a simulated room and a fourth, two actions, sixty frames, three sensors."""
    from equipose.config import DataSettings
    from equipose.data.dataset import PoseDataset
    from equipose.data.packed import pack
    from equipose.data.store import open_store
    from equipose.simulate.mmfi_writer import write_mmfi

    root = tmp_path_factory.mktemp("room")
    write_mmfi(root / "mmfi", subjects=(1, 2, 3, 4), actions=(13, 12), frames=60, seed=0, jobs=1, modalities=SIMULATED)
    pack(root / "mmfi", root / "packed", jobs=1)
    store = open_store(root / "packed")
    settings = DataSettings(modalities=SIMULATED, windows={"rgb": 3, "lidar": 1, "wifi": 1}, points={"lidar": 32})
    person = store.recordings.subject[store.frame_recording]
    return tuple(PoseDataset(store, np.flatnonzero(rows), settings) for rows in (person < 4, person == 4))
