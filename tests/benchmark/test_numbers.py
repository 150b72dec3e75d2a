"""The page's numbers against plain numpy, on made-up cells."""

import csv

import numpy as np
import pytest

from equipose.benchmark.comparisons import additions, best_own_pair, best_trained_pair, gaps
from equipose.benchmark.findings import findings, headline, limits
from equipose.benchmark.page import render
from equipose.benchmark.run import write_benchmark
from equipose.benchmark.statistics import mean, relative
from equipose.benchmark.study import build_study
from equipose.benchmark.table import COLUMNS
from equipose.errors import DataError

SENSORS = ("rgb", "lidar", "mmwave")


@pytest.fixture
def made(recipe, cells, packed, tmp_path):
    """A benchmark folder of three methods with three seeds, one clearly better and one clearly worse."""
    found = recipe(
        title="Three <methods>",
        methods=[
            {"strategy": "awc", "label": "good <b>", "candidates": [{}, {"window": 3}]},
            {"strategy": "joint", "candidates": [{}]},
            {"strategy": "awc", "label": "bad", "settings": {"window": 7}, "candidates": [{}]},
        ],
        seeds=[0, 1, 2],
        subsets=["singles", "rgb+lidar"],
        tuning={"candidates": 2},
    )
    out = tmp_path / "out"
    files = cells(out, found, packed, {"good <b>": -20.0, "bad": 15.0})
    return out, found, files


def plain(files, seeds, pick):
    """(seed, recording) errors with all sensors of the cells that ``pick`` accepts, and samples; by hand."""
    rows, samples = [], None
    for seed in seeds:
        file = next(
            f for f in files.values() if f["kind"] == "final" and f["recipe"]["train"]["seed"] == seed and pick(f)
        )
        rows.append(file["test"]["recordings"]["mpjpe_mm"])
        samples = np.array(file["test"]["recordings"]["samples"], float)
    return np.array(rows), samples, np.array(file["test"]["recordings"]["subject"])


def is_joint(file):
    return file["recipe"]["balance"]["name"] == "joint" and len(file["test"]["sensors"]) == 3


def is_bad(file):
    return file["recipe"]["balance"]["settings"] == {"window": 7}


def test_errors_differences_and_wins(made):
    out, recipe, files = made
    table = build_study(out, recipe).tables[0]
    assert [row.label for row in table.rows] == ["joint", "good <b>", "bad"]
    joint, samples, subject = plain(files, (0, 1, 2), is_joint)
    bad, _, _ = plain(files, (0, 1, 2), is_bad)
    full = [(each[:, -1] * samples).sum(1) / samples.sum() for each in (joint, bad)]
    row = table.rows[2]
    assert table.reference.trained.error(SENSORS).value == pytest.approx(full[0].mean())
    assert table.reference.trained.error(SENSORS, aligned=True).value == pytest.approx(full[0].mean() / 2)
    assert row.difference.value == pytest.approx((full[1] - full[0]).mean())
    assert row.difference.per_seed == pytest.approx(full[1] - full[0])
    assert row.difference.wins == "0 of 3" and row.difference.above
    assert table.rows[1].difference.below and table.rows[1].difference.wins == "3 of 3"
    # The interval, resampled the slow way with other random numbers.
    generator, estimates = np.random.default_rng(5), []
    people = np.unique(subject)
    for _ in range(3000):
        drawn, seeds = generator.choice(people, len(people)), generator.integers(0, 3, 3)
        rows = np.concatenate([np.flatnonzero(subject == person) for person in drawn])
        change = (bad - joint)[seeds][:, -1][:, rows].mean(0)
        estimates.append((change * samples[rows]).sum() / samples[rows].sum())
    assert row.difference.interval == pytest.approx(np.quantile(estimates, (0.025, 0.975)), abs=0.25)


def test_additions_gaps_and_transfer(made):
    out, recipe, files = made
    table = build_study(out, recipe).tables[0]
    joint, samples, _ = plain(files, (0, 1, 2), is_joint)
    means = (joint * samples).sum(2) / samples.sum()  # (seed, subset), subsets by bits
    found = {(frozenset(a.start), a.added): a.change for a in additions(table.reference.trained)}
    assert len(found) == 9
    assert found[frozenset({"rgb", "mmwave"}), "lidar"].value == pytest.approx((means[:, 6] - means[:, 4]).mean())
    alone, _, _ = plain(
        files, (0, 1, 2), lambda f: f["test"]["sensors"] == ["lidar"] or f["test"]["sensors"] == ("lidar",)
    )
    own = (alone[:, 0] * samples).sum(1) / samples.sum()
    gap = next(g for g in gaps(table.reference.trained, table.subsets) if g.sensors == ("lidar",))
    assert gap.part.value == pytest.approx(means[:, 1].mean() / own.mean() - 1)
    pair = best_own_pair(table.reference.trained)
    rows = {("rgb", "lidar"): 2, ("rgb", "mmwave"): 4, ("lidar", "mmwave"): 5}
    best = min(rows, key=lambda names: means[:, rows[names]].mean())
    assert pair.pair == best and pair.change.value == pytest.approx((means[:, 6] - means[:, rows[best]]).mean())
    assert best_trained_pair(table.reference.trained, table.subsets).pair == ("rgb", "lidar")


def test_one_seed_is_the_bootstrap_over_people():
    from equipose.metrics.bootstrap import bootstrap_mean

    generator = np.random.default_rng(1)
    values, subject = generator.normal(10, 3, 60), np.repeat(np.arange(12), 5)
    sums = np.bincount(subject, values)[None]
    found = mean(sums, np.full(12, 5.0))
    expected = bootstrap_mean(values, subject, 2000, np.random.default_rng(0))
    assert found.interval == pytest.approx(expected) and found.value == pytest.approx(values.mean())
    assert mean(sums[:, :1], np.full(1, 5.0)).interval is None
    assert relative(1.1 * sums, sums, np.full(12, 5.0)).interval == pytest.approx((0.1, 0.1))


def test_seeds_widen_the_interval():
    sums = np.ones((4, 10)) * np.array([1.0, 2.0, 3.0, 10.0])[:, None]
    same = mean(np.ones((4, 10)) * 4.0, np.ones(10))
    spread = mean(sums, np.ones(10))
    assert same.value == spread.value == 4.0
    assert same.interval == pytest.approx((4.0, 4.0)) and spread.interval[1] - spread.interval[0] > 4.0


def test_the_words_follow_the_numbers(made):
    out, recipe, _ = made
    study = build_study(out, recipe)
    told = " ".join([headline(study.tables[0]), *findings(study.tables[0]), *limits(study)])
    assert "1 is better beyond the interval" in told and "1 worse" in told
    assert "good <b> is better" in told and "bad is worse" in told
    assert "simulated" in told and "fewer for joint and bad" in told


def test_page_and_table_come_from_the_cells_alone(made):
    out, _, files = made
    page = write_benchmark(out).read_text("utf-8")
    assert "good &lt;b&gt;" in page and "good <b>" not in page.split('id="payload"')[0]
    assert "window 3" in page and "Three &lt;methods&gt;" in page
    lines = list(csv.DictReader((out / "results.csv").read_text().splitlines()))
    finals = [file for file in files.values() if file["kind"] == "final"]
    assert len(lines) == sum(len(file["test"]["subsets"]) for file in finals) and tuple(lines[0]) == COLUMNS
    joint = [line for line in lines if line["method"] == "joint" and line["subset"] == "rgb+lidar+mmwave"]
    errors, samples, _ = plain(files, (0, 1, 2), is_joint)
    expected = (errors[:, -1] * samples).sum(1) / samples.sum()
    assert [float(line["mpjpe_mm"]) for line in joint] == pytest.approx(expected)


def test_the_markdown_has_every_method_and_subset(made):
    out, _, files = made
    write_benchmark(out)
    blocks = (out / "benchmark.md").read_text().split("\n\n")
    tables = [[line.split(" | ") for line in block.splitlines()] for block in blocks if block.startswith("|")]
    main, subsets, gap = tables
    assert all(len({len(line) for line in table}) == 1 for table in tables), "a row is as wide as its head"
    assert [line[0] for line in main[2:]] == ["| joint", "| good <b>", "| bad"]
    errors, samples, _ = plain(files, (0, 1, 2), is_bad)
    expected = (errors[:, -1] * samples).sum() / (3 * samples.sum())
    assert main[4][2].startswith(f"{expected:.1f} [")
    assert subsets[0][1:] == ["R", "L", "M", "RL", "RM", "LM", "RLM |"] and len(subsets) == 2 + 3 + 1
    assert gap[0][1:] == ["RGB", "LiDAR", "mmWave", "RGB + LiDAR |"] and gap[2][1].count("%") == 1


def test_a_missing_cell_is_named_and_the_rest_is_shown(made):
    out, recipe, _ = made
    gone = next((out / "cells").glob("final_joint_concat_P1-manual_s1_*.json"))
    gone.unlink()
    (out / "failed").mkdir()
    (out / "failed" / f"{gone.stem}.txt").write_text("it broke\n\nTraceback")
    study = build_study(out, recipe)
    page = render(study, out)
    assert "joint, concat P1-manual rgb+lidar+mmwave, seed 1: it broke" in page
    assert study.tables[0].rows[1].difference.wins == "2 of 2", "only seeds that both have are compared"


def test_other_test_samples_are_not_compared(made):
    out, recipe, _ = made
    for path in (out / "cells").glob("final_awc*.json"):
        path.write_text(path.read_text().replace('"subject": [5,', '"subject": [6,'))
    table = build_study(out, recipe).tables[0]
    assert table.rows[1].difference is None and table.rows[1].unpaired == "their test samples differ"


def test_a_damaged_cell_is_an_error_with_advice(made):
    out, recipe, _ = made
    path = next((out / "cells").glob("final_*.json"))
    path.write_text('{"format": "equipose-benchmark-cell-1"}')
    with pytest.raises(DataError, match="is damaged"):
        build_study(out, recipe)
