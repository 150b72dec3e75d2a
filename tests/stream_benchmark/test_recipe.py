"""Recipes: what they mean, what they refuse, and which runs follow."""

from pathlib import Path

import pytest

from equipose.errors import UsageError
from equipose.stream_benchmark.plan import rows, wanted
from equipose.stream_benchmark.recipe import load_stream_benchmark

ROOT = Path(__file__).parents[2]
ORDERS = [["E01", "E02"], ["E02", "E01"]]


def test_runs_of_a_grid(recipe):
    made = recipe(
        methods=["fine_tune", {"continual": "er", "settings": {"capacity": 5}}],
        noise=["clean", {"label": "noisy", "corruption": {"label_rate": 0.5}}],
        bounds=["joint", "cumulative", {"regime": "single", "noise": ["clean"]}],
        orders=ORDERS,
        seeds=[0, 3],
    )
    cells = wanted(made)
    # clean and noisy: 2 methods and cumulative in 2 orders; joint in none; single in clean alone.
    assert len(cells) == 2 * (2 * (3 * 2 + 1) + 1) and len({cell.name for cell in cells}) == len(cells)
    assert all(cell.recipe.train.seed == 0 for cell in cells[: len(cells) // 2]), "seed after seed"
    joint = next(row for row in rows(made) if row.source.name == "joint")
    assert joint.cells[0, 0] == joint.cells[1, 0] != joint.cells[0, 3]
    assert joint.cells[0, 0].recipe.watch_steps == 0 and joint.cells[0, 0].recipe.regime == "joint"
    tuned = next(row for row in rows(made) if row.noise.label == "noisy")
    assert tuned.cells[1, 3].recipe.stream.order == ("E02", "E01")
    assert tuned.cells[1, 3].recipe.corruption.label_rate == 0.5


def test_the_name_of_a_run_follows_its_settings(recipe):
    def name(**values):
        return wanted(recipe(methods=[{"continual": "er", **values}]))[0].name

    assert name() == name(label="another word for it"), "a label changes nothing"
    assert name() != name(settings={"capacity": 7}) != name(separation="find")
    assert name(separation={"mode": "off"}) == name(separation=False) == name(), "YAML reads off as false"


def test_two_rows_that_ask_for_the_same_run_share_it(recipe):
    made = recipe(methods=["fine_tune", {"continual": "fine_tune", "label": "again"}])
    assert len(wanted(made)) == 1 and len(rows(made)) == 2 and made.baseline.name == "fine_tune"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"methods": []}, "at least 1"),
        ({"methods": ["er", "er"]}, "two rows are called 'er'"),
        ({"methods": ["er"], "noise": ["clean", "clean"]}, "two noise conditions are called 'clean'"),
        ({"methods": [{"continual": "er", "noise": ["nosy"]}], "noise": ["noisy"]}, "Did you mean 'noisy'"),
        ({"methods": ["er"], "orders": [["E01", "E02"], ["E01", "E03"]]}, "the same experiences in every order"),
        ({"methods": ["er"], "seeds": [1, 1]}, "name each once"),
        ({"methods": ["er"], "bounds": ["jiont"]}, "joint"),
        ({"methods": ["er"], "reference": "fine"}, "fine"),
        ({"methods": ["er"], "base": {"train": {"epoch": 3}}}, "Did you mean train.epochs"),
    ],
)
def test_mistakes_are_named(recipe_file, values, expected):
    with pytest.raises(UsageError) as told:
        load_stream_benchmark(recipe_file(**values))
    assert expected in str(told.value)


@pytest.mark.parametrize("name", ["continual_tiny.yaml", "continual.yaml"])
def test_the_recipes_that_come_along_are_valid(name):
    made = load_stream_benchmark(ROOT / "benchmarks" / name)
    from equipose.config import validate
    from equipose.registry import CONTINUAL

    cells = wanted(made)
    assert len({cell.name for cell in cells}) == len(cells)
    for cell in cells:
        settings = cell.recipe.continual
        validate(CONTINUAL[settings.name].Settings, settings.settings, settings.name)
    assert all(cell.recipe.balance.name == "every_subset" for cell in cells), "separation asks each sensor alone"
