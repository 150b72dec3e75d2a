"""Order, laziness and loss of a worker."""

from __future__ import annotations

import math
import os

import pytest

from equipose.data.parallel import map_in_order
from equipose.errors import DataError


@pytest.mark.parametrize("jobs", [1, 2])
def test_results_come_in_order(jobs):
    assert list(map_in_order(math.sqrt, [9.0, 4.0, 1.0, 0.0], jobs)) == [(9.0, 3.0), (4.0, 2.0), (1.0, 1.0), (0.0, 0.0)]


def test_few_tasks_are_in_flight():
    taken = []

    def tasks():
        for i in range(50):
            taken.append(i)
            yield float(i)

    results = map_in_order(math.sqrt, tasks(), 2)
    for _ in range(10):
        next(results)
    assert len(taken) <= 10 + 4
    results.close()


def test_an_error_of_a_task_arrives():
    with pytest.raises(ValueError, match="math domain error"):
        list(map_in_order(math.sqrt, [1.0, -1.0], 2))


def test_a_killed_worker_is_a_message():
    with pytest.raises(DataError, match="--jobs 1"):
        list(map_in_order(os._exit, [1], 2))
