"""The benchmark's recipe and the plan of its trainings."""

import pytest

from equipose.benchmark.plan import (
    candidates,
    chosen,
    conditions,
    final_cells,
    method_cell,
    subset_cells,
    tuning_cells,
    wanted,
)
from equipose.benchmark.recipe import load_benchmark, merged, subset_sensors
from equipose.errors import UsageError


def test_names_alone_and_full_descriptions_are_methods(recipe):
    found = recipe(
        methods=["joint", {"label": "slow", "strategy": "joint", "recipe": {"train": {"learning_rate": 1e-4}}}]
    )
    assert [method.name for method in found.methods] == ["joint", "slow"]
    assert found.baseline.name == "joint"
    place = conditions(found)[0]
    first, second = (final_cells(found, method, place, 0)[0].recipe for method in found.methods)
    assert (first.train.learning_rate, second.train.learning_rate) == (1e-3, 1e-4)
    assert first.model.width == second.model.width == 8


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"methods": ["joint", "joint"]}, "two methods are called 'joint'"),
        ({"methods": ["joint"], "reference": "jiont"}, "Did you mean 'joint'?"),
        ({"methods": ["joint"], "seeds": [1, 1]}, "name each once"),
        ({"methods": ["joint"], "subsets": ["rgb+wfi"]}, "unknown sensor in `subsets` 'wfi'"),
        ({"methods": ["joint"], "seed": [1]}, "Did you mean seeds?"),
        ({"methods": []}, "methods"),
    ],
)
def test_a_wrong_recipe_is_refused_with_a_reason(recipe, values, expected):
    with pytest.raises(UsageError) as found:
        recipe(**values)
    assert expected in str(found.value)


def test_a_base_in_a_file_is_looked_up_beside_the_recipe(tmp_path):
    (tmp_path / "base.yaml").write_text("train: {epochs: 7}\n")
    (tmp_path / "recipe.yaml").write_text("base: base.yaml\nmethods: [joint]\n")
    assert load_benchmark(tmp_path / "recipe.yaml").base == {"train": {"epochs": 7}}
    assert load_benchmark(tmp_path / "recipe.yaml", [3, 4]).seeds == (3, 4)


def test_the_example_of_the_repository_is_valid(request):
    found = load_benchmark(request.config.rootpath / "benchmarks" / "tiny.yaml")
    assert len(wanted(found, {})) == 4 + 5 * 2  # tuning, subsets x seeds; the finals wait for the tuning


def test_conditions_are_all_combinations_and_a_method_keeps_its_own_fusion(recipe):
    found = recipe(
        methods=["joint", {"strategy": "joint", "label": "mlp", "recipe": {"model": {"fusion": "mlp"}}}],
        fusions=["concat", "attention"],
        splits=["S1", "S2"],
    )
    places = conditions(found)
    assert {(p.fusion, p.split) for p in places} == {(f, s) for f in ("concat", "attention") for s in ("S1", "S2")}
    own = [final_cells(found, found.methods[1], place, 0)[0] for place in places]
    assert {cell.recipe.model.fusion for cell in own} == {"mlp"}
    assert len({cell.name for cell in own}) == 2, "one training serves both tables of a split"


def test_subsets_are_named_in_words_or_one_by_one(recipe):
    found = recipe(methods=["joint"], subsets=["singles", "lidar+rgb", ["mmwave", "rgb"], "rgb+lidar+mmwave"])
    assert subset_sensors(found) == (("rgb",), ("lidar",), ("mmwave",), ("rgb", "lidar"), ("rgb", "mmwave"))
    assert len(subset_sensors(recipe(methods=["joint"], subsets=["all"]))) == 6


def test_candidates_lie_over_the_settings_and_dots_reach_the_run(recipe):
    method = {
        "strategy": "awc",
        "settings": {"alpha_superior": 7.0},
        "candidates": [{}, {"alpha_superior": 1.0}, {"train.learning_rate": 0.5}, {"alpha_inferior": 2.0}],
    }
    found = recipe(methods=[method], tuning={"candidates": 3, "epochs": 9})
    place, only = conditions(found)[0], found.methods[0]
    cells = tuning_cells(found, only, place)
    assert [cell.recipe.balance.settings for cell in cells] == [
        {"alpha_superior": 7.0},
        {"alpha_superior": 1.0},
        {"alpha_superior": 7.0},
    ]
    assert [cell.recipe.train.learning_rate for cell in cells] == [1e-3, 1e-3, 0.5]
    assert {cell.recipe.train.epochs for cell in cells} == {9}
    assert len(candidates(found, only)) == 3


def test_the_lowest_validation_error_wins_and_failures_lose(recipe):
    found = recipe(
        methods=[{"strategy": "awc", "candidates": [{}, {"window": 3}, {"window": 4}]}], tuning={"candidates": 3}
    )
    place, only = conditions(found)[0], found.methods[0]
    names = [cell.name for cell in tuning_cells(found, only, place)]
    assert chosen(found, only, place, dict(zip(names[:2], (3.0, 2.0), strict=True))) is None
    assert chosen(found, only, place, dict(zip(names, (3.0, 2.0, 2.5), strict=True))) == 1
    assert chosen(found, only, place, dict(zip(names, (3.0, None, 2.5), strict=True))) == 2
    assert chosen(found, only, place, dict.fromkeys(names)) is None


def test_the_chosen_candidate_shares_its_run_with_the_final_cell_of_the_same_seed(recipe):
    found = recipe(
        methods=[{"strategy": "awc", "candidates": [{}, {"window": 3}]}],
        seeds=[4, 5],
        tuning={"candidates": 2, "seed": 4},
    )
    place, only = conditions(found)[0], found.methods[0]
    tuned, finals = tuning_cells(found, only, place), final_cells(found, only, place, 1)
    assert finals[0].training == tuned[1].training and finals[0].name != tuned[1].name
    assert finals[1].training != finals[0].training


def test_specialists_teach_with_the_same_seed(recipe):
    found = recipe(
        methods=[{"strategy": "joint", "teachers": "specialists", "candidates": [{}, {"train.learning_rate": 0.1}]}],
        seeds=[1, 2],
        tuning={"candidates": 2, "seed": 9},
    )
    place, only = conditions(found)[0], found.methods[0]
    subsets = subset_cells(found, place)
    for cell in final_cells(found, only, place, 0):
        seed = cell.recipe.train.seed
        assert {m: teacher.name for m, teacher in cell.teachers} == {
            m: subsets[(m,), seed].name for m in ("rgb", "lidar", "mmwave")
        }
    tuned = tuning_cells(found, only, place)[0]
    assert {teacher.kind for _, teacher in tuned.teachers} == {"tuning"}, "seed 9 never looks at the test split"
    order = [cell.name for cell in wanted(found, {})]
    assert all(order.index(teacher.name) < order.index(tuned.name) for _, teacher in tuned.teachers)
    untaught = method_cell(found, only.model_copy(update={"teachers": ""}), place, {}, 1, "final")
    assert untaught.training != final_cells(found, only, place, 0)[0].training


def test_mappings_are_laid_over_each_other():
    low = {"a": {"x": 1, "y": 2}, "b": 3}
    assert merged(low, {"a": {"y": 5}}, {"b": {"z": 1}}) == {"a": {"x": 1, "y": 5}, "b": {"z": 1}}
    assert low == {"a": {"x": 1, "y": 2}, "b": 3}
