"""Rows: pairing over people and runs, orders, derived bounds, and the study that puts them together."""

import json

import numpy as np
import pytest

from equipose.benchmark.results import cell_path
from equipose.stream_benchmark import rows
from equipose.stream_benchmark.plan import wanted
from equipose.stream_benchmark.results import FORMAT, errors_path
from equipose.stream_benchmark.rows import Runs
from equipose.stream_benchmark.study import FROZEN, MEAN_POSE, build_study
from equipose.stream_benchmark.table import write_csv
from equipose.train.stream_errors import write_errors

E = np.array([[100.0, 180.0, 200.0], [95.0, 90.0, 190.0], [150.0, 110.0, 80.0]])
JOINT = np.array([[90.0, 80.0, 70.0]])


@pytest.fixture
def runs(made_up):
    """``runs(shift)``: two orders, two seeds; seeds differ by 4 mm, people by 48 mm."""

    def make(shift=0.0, matrix=E):
        orders = [("E01", "E02", "E03"), ("E03", "E01", "E02")]
        return Runs({(i, s): made_up(matrix + shift + 4.0 * s, orders[i]) for i in range(2) for s in range(2)})

    return make


def test_a_constant_difference_has_no_width_however_people_and_seeds_differ(runs):
    own = runs().estimate("final_mm")
    assert own.interval[1] - own.interval[0] > 5.0, "people differ"
    for measure in ("final_mm", "over_time_mm", "learned_mm"):
        found = rows.difference(runs(-7.0), runs(), measure)
        assert found.value == pytest.approx(-7.0) and found.interval == pytest.approx((-7.0, -7.0))
        assert found.wins == "4 of 4"
    for measure in ("bwt_mm", "forgetting_mm", "fwt_mm"):
        assert np.isfinite(runs().estimate(measure).interval).all(), "some people do not count in some orders"


def test_only_runs_that_both_have_are_compared(runs):
    more, fewer = runs(), runs(-5.0).of(((0, 1), (1, 1)))
    assert len(rows.difference(fewer, more, "final_mm").per_seed) == 2
    assert rows.difference(fewer, more.of(((0, 0),)), "final_mm") is None
    other = runs()
    changed = {
        key: errors.__class__(**{**vars(errors), "samples": errors.samples + 1}) for key, errors in other.errors.items()
    }
    assert rows.paired(runs(), Runs(changed)) == "their test samples differ"


def test_an_orderless_bound_stands_beside_every_order(runs, made_up):
    tuned = runs()
    one = made_up(JOINT)
    joint = Runs(dict.fromkeys(tuned.keys, one))
    gap = rows.gap_closed(runs(-10.0), tuned, joint)
    final = 340 / 3 + 2.0
    assert gap.value == pytest.approx(10.0 / (final - 80.0))
    assert rows.gap_closed(tuned, tuned, joint).value == 0 and rows.gap_closed(joint, tuned, joint).value == 1
    assert len(joint.estimate("final_mm").per_seed) == 1, "it is one run and not four"
    assert rows.gap_closed(tuned, joint, tuned) is None, "the bound is worse than fine-tuning"


def test_experts_are_compared_by_name_and_not_by_place(made_up):
    single = made_up(np.array([[10.0, 99, 99], [99, 20.0, 99], [99, 99, 30.0]]))
    own = rows.experts(Runs({(0, 0): single, (1, 0): single}))
    assert own.matrix().tolist() == [[10.0, 20.0, 30.0]] and len(own.distinct.keys) == 1
    streams = {(0, 0): made_up(E), (1, 0): made_up(E, ("E03", "E01", "E02"))}
    found = rows.intransigence(Runs(streams), own)
    assert found.value == pytest.approx(90.0 - 20.0)


def test_what_follows_from_fine_tuning(runs):
    tuned = runs()
    frozen, still = rows.frozen(tuned), rows.still(tuned)
    np.testing.assert_allclose(frozen.matrix(order=0), np.tile(tuned.matrix(order=0)[0], (3, 1)))
    assert frozen.estimate("forgetting_mm").value == 0
    assert still.matrix()[0].tolist() == [200.0] * 3 and still.estimate("fwt_mm").value == 0
    np.testing.assert_allclose(tuned.matrix(("rgb",)), tuned.matrix() + 20.0)


METHODS = [
    "fine_tune",
    {"continual": "er", "label": "replay"},
    {"continual": "fine_tune", "label": "found", "separation": "find", "noise": ["noisy"]},
]
NOISE = ["clean", {"label": "noisy", "corruption": {"sensor_rate": 0.3}}]
GROUPS = {"rgb": {"count": 10, "corrupt": 0.4, "precision": 0.5, "recall": None}, "label": {"f1": 0.25}}


@pytest.fixture
def folder(recipe, made_up, tmp_path):
    """A folder with made-up cells, and its recipe."""
    made = recipe(
        methods=METHODS,
        noise=NOISE,
        bounds=["joint", "single"],
        orders=[["E01", "E02", "E03"], ["E02", "E03", "E01"]],
        seeds=[0, 1],
    )
    out = tmp_path / "out"
    (out / "cells").mkdir(parents=True)
    for cell in wanted(made):
        shift = {"replay": -20.0, "found": -5.0}.get(cell.title, 0.0)
        matrix = JOINT if cell.recipe.regime == "joint" else E + shift
        errors = made_up(matrix, cell.recipe.stream.order)
        noise = {"experience": "E01", "judged": True, "groups": GROUPS, "memory": {"cells": 0.9, "entries": 5.0}}
        record = {
            "format": FORMAT,
            "run": f"runs/{cell.name}",
            "recipe": cell.recipe.model_dump(mode="json"),
            "experiences": errors.names,
            "steps": 10,
            "step_seconds": 0.3 if cell.title == "replay" else 0.2,
            "training_seconds": 2.0,
            "memory_bytes": 1000,
            "noise": [noise, {**noise, "groups": {}, "memory": {}}] if cell.noise == "noisy" else [],
        }
        write_errors(errors_path(out, cell.name), errors)
        cell_path(out, cell.name).write_text(json.dumps(record))
    return out, made


def test_a_study_has_every_row_of_every_condition(folder):
    study = build_study(*folder)
    clean, noisy = study.tables
    assert [row.label for row in clean.rows] == ["fine_tune", "replay", "joint", "single", FROZEN, MEAN_POSE]
    assert [row.label for row in noisy.finished] == [
        "fine_tune",
        "replay",
        "found",
        "joint",
        "single",
        FROZEN,
        MEAN_POSE,
    ]
    tuned, replay, joint, single = clean.rows[:4]
    assert clean.reference is tuned and clean.joint is joint and clean.single is single
    assert replay.values["final_mm"].value == pytest.approx(340 / 3 - 20)
    assert replay.differences["final_mm"].value == pytest.approx(-20.0)
    assert replay.values["gap_closed"].value == pytest.approx(20 / (340 / 3 - 80))
    assert replay.values["plasticity"].value == pytest.approx(90 / 70)
    assert replay.values["intransigence_mm"].value == pytest.approx(-20.0)
    assert single.values["final_mm"].value == pytest.approx(90.0), "each expert on its own experience"
    assert set(replay.subsets) == {("rgb",), ("lidar",), ("rgb", "lidar")}
    assert replay.subsets[("lidar",)]["final_mm"].value == pytest.approx(340 / 3 - 10)
    assert replay.inequality == pytest.approx(0.0), "both sensors forgot as much"
    assert tuned.values["pa_final_mm"].value == pytest.approx(340 / 6)
    assert replay.cost.step_ratio == pytest.approx(1.5) and len(replay.runs.keys) == 4
    assert replay.found is None
    found = noisy.rows[2].found
    assert found.groups["rgb"] == {"count": 10, "corrupt": 0.4, "precision": 0.5} and found.memory["cells"] == 0.9


def test_missing_runs_are_named_with_their_reason(folder):
    out, made = folder
    gone = next(cell for cell in wanted(made) if cell.title == "replay")
    cell_path(out, gone.name).unlink()
    (out / "failed").mkdir()
    (out / "failed" / f"{gone.name}.txt").write_text("out of luck\n\ntraceback")
    row = build_study(out, made).tables[0].rows[1]
    assert row.missing == {gone.label: "out of luck"} and len(row.runs.keys) == 3


def test_the_tables_hold_every_number(folder):
    out, made = folder
    write_csv(out, build_study(out, made))
    results = (out / "results.csv").read_text().splitlines()
    sequential, orderless = 3 * 3 * 3, 3 * 3  # steps x experiences x subsets; one step
    # fine_tune, replay and, in the noise, what was found: 4 runs each; joint and single experts: one per seed.
    assert len(results) == 1 + (2 + 3) * 4 * sequential + 2 * (2 + 2) * orderless
    assert "clean,joint,bound,joint,off,any,1,E03,0,E01,0,rgb+lidar,40,90.0,45.0" in results
    assert "clean,replay,method,er,off,E01-E02-E03,0,E03,2,E01,0,rgb+lidar,40,130.0,65.0" in results
    measured = (out / "measures.csv").read_text()
    assert "noisy,found,method,fine_tune,find,rgb+lidar,gap_closed,0.15" in measured
    assert "noisy,found,method,fine_tune,find,group,rgb,precision,0.5" in (out / "noise.csv").read_text()
