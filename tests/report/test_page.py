"""The page as text: well-formed, offline, escaped, complete, and its numbers are those of the run folders."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import plotly.graph_objects as go
import pytest

from equipose.cli.report import report
from equipose.errors import UsageError
from equipose.report import write_report
from equipose.report.load import load_run
from equipose.report.markup import change, number
from equipose.report.pairing import Difference
from equipose.report.study import build_study

SECTIONS = ("overview", "accuracy", "subsets", "contributions", "failure", "cost", "scenes", "provenance")
VOID = {"meta", "input", "br", "link", "img", "hr"}
EVIL = '</script><script>alert(1)</script><img src=x onerror="alert(2)">&amp;\'"'


class Page(HTMLParser):
    """Elements, their nesting, their attributes and the text outside scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict]] = []
        self.words: list[str] = []
        self.scripts: list[tuple[dict, str]] = []
        self.feed(page)
        self.close()
        assert self.open == [], f"left open: {self.open}"
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts[-1] = (self.scripts[-1][0], self.scripts[-1][1] + data)
        elif not self.open or self.open[-1] != "style":
            self.words.append(data)

    def ids(self):
        return [attributes["id"] for _, attributes in self.elements if "id" in attributes]

    def payload(self):
        return json.loads(next(text for attributes, text in self.scripts if attributes.get("id") == "payload"))


@pytest.fixture(scope="module")
def two_text(joint_run, awc_run, tmp_path_factory):
    return write_report([joint_run, awc_run], tmp_path_factory.mktemp("out") / "two.html").read_text("utf-8")


@pytest.fixture(scope="module")
def two(two_text):
    return Page(two_text)


def test_sections_in_order_with_unique_ids_and_working_links(two):
    ids = two.ids()
    assert len(ids) == len(set(ids))
    assert [i for i in ids if i in SECTIONS] == list(SECTIONS)
    links = [a["href"] for t, a in two.elements if t == "a"]
    assert links and all(link[0] == "#" and link[1:] in ids for link in links)


def test_loads_nothing(two, two_text):
    for tag, attributes in two.elements:
        assert tag not in ("link", "iframe", "object", "embed", "base", "form")
        assert not {"src", "srcset", "action", "data", "background", "poster"} & set(attributes)
        assert not [name for name in attributes if name.startswith("on")]
    assert "url(" not in re.search(r"<style>(.*?)</style>", two_text, re.DOTALL)[1]


def test_only_our_scripts_may_run(two):
    policy = next(a["content"] for t, a in two.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    allowed = re.search(r"script-src ([^;]*)", policy)[1]
    assert "unsafe" not in allowed
    running = [text for attributes, text in two.scripts if attributes.get("type") != "application/json"]
    assert len(running) == 4
    for script in running:
        assert "\r" not in script
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in allowed


def test_size_and_marker(two_text):
    assert 4e6 < len(two_text) < 8e6
    assert two_text.startswith("<!doctype html>") and 'lang="en"' in two_text[:100]


def test_numbers_are_those_of_the_inputs(two, joint_run, awc_run):
    for folder in (joint_run, awc_run):
        stored = json.loads((folder / "metrics.json").read_text())
        for row in stored["coalitions"]:
            assert number(row["mpjpe_mm"]) in two.text
        full = stored["coalitions"][-1]
        assert f"{full['pa_mpjpe_mm']:.1f}" in two.text
        for addition in stored["hurts"]:
            assert change(addition["change_mm"]) in two.text
        cells = [
            text
            for chart in two.payload()["charts"]
            for trace in chart["data"]
            if trace["type"] == "heatmap"
            for row in trace["text"]
            for text in row
        ]
        assert {f"{e:.1f}" for e in stored["per_joint_mm"]} <= set(cells)
        assert {f"{a['mpjpe_mm']:.1f}" for a in stored["per_action"]} <= set(cells)


def test_paired_difference_in_the_page(two, joint_run, awc_run):
    study = build_study([load_run(joint_run), load_run(awc_run)])
    found = study.comparisons[0].mpjpe
    assert isinstance(found, Difference)
    errors = []
    for folder in (joint_run, awc_run):
        with np.load(folder / "predictions.npz") as stored:
            errors.append(1000 * np.linalg.norm(stored["joints"].astype(float) - stored["target"], axis=-1).mean())
    assert found.change_mm == pytest.approx(errors[1] - errors[0], abs=1e-6)
    assert change(found.change_mm, 2) in two.text


def test_every_chart_is_a_valid_figure_in_both_themes(two):
    payload = two.payload()

    def coloured(value, theme):
        if isinstance(value, str) and value.startswith("@"):
            return theme[value[1:]]
        if isinstance(value, list):
            return [coloured(v, theme) for v in value]
        return {k: coloured(v, theme) for k, v in value.items()} if isinstance(value, dict) else value

    assert len(payload["charts"]) >= 10
    assert set(payload["themes"]["light"]) == set(payload["themes"]["dark"])
    for chart in payload["charts"]:
        for theme in payload["themes"].values():
            go.Figure(coloured(chart, theme))


def test_each_chart_has_its_place_and_its_description(two):
    places = [a for t, a in two.elements if a.get("class") == "plot"]
    assert {a["id"] for a in places} == {f"chart-{i}" for i in range(len(two.payload()["charts"]))}
    assert all(a["role"] == "img" and len(a["aria-label"]) > 20 for a in places)


def test_clips_survive_packing(two, joint_run):
    clip = two.payload()["scene"]["clips"][0]
    with np.load(joint_run / "scenes.npz") as stored:
        target, lidar = stored["scene0_target"], stored["scene0_lidar"]
    poses = {pose["label"]: pose for pose in clip["poses"]}
    assert list(poses) == ["true pose", "joint training", "AWC"]
    values = np.frombuffer(base64.b64decode(poses["true pose"]["xyz"]), "<i2").reshape(target.shape) / 1000
    assert np.abs(values - target).max() <= 0.0005 + 1e-6
    cloud = next(cloud for cloud in clip["clouds"] if cloud["label"].startswith("LiDAR"))
    assert cloud["offsets"][0] == 0 and cloud["offsets"][-1] == len(lidar)
    assert np.diff(cloud["offsets"]).tolist() == np.bincount(lidar[:, 3].astype(int), minlength=40).tolist()
    assert len(clip["bones"]) == 16


def test_runs_that_picked_other_clips_answer_from_their_predictions(make_run, tmp_path):
    first, second = make_run(strategy="joint", frames=8), make_run(strategy="awc", frames=8, omit=("scenes.npz",))
    with np.load(first / "predictions.npz") as stored, np.load(second / "predictions.npz") as other:
        clip = {"target": stored["target"][8:16], "joints": stored["joints"][8:16]}
        expected = other["joints"][8:16]
    names = {"name": np.array("worst"), "frames": np.arange(1, 9), **clip}
    np.savez(first / "scenes.npz", **{f"scene0_{key}": value for key, value in names.items()})
    page = Page(write_report([first, second], tmp_path / "r.html").read_text("utf-8"))
    (found,) = page.payload()["scene"]["clips"]
    assert found["name"] == "joint training, worst" and found["clouds"] == []
    assert [pose["label"] for pose in found["poses"]] == ["true pose", "joint training", "AWC"]
    values = np.frombuffer(base64.b64decode(found["poses"][2]["xyz"]), "<i2").reshape(expected.shape) / 1000
    assert np.abs(values - expected).max() <= 0.0005 + 1e-6
    error = 1000 * np.linalg.norm(expected.astype(float) - clip["target"], axis=-1).mean(-1)
    assert found["poses"][2]["error_mm"] == pytest.approx(error, abs=0.051)


def test_says_what_is_simulated_and_what_one_seed_cannot_show(two):
    assert "Simulated data." in two.text and two.text.count("SIMULATED") == 4
    assert "One seed: no claim about method differences" in two.text
    assert "equipose train quickstart --data 'demo data' --balance awc" in two.text
    assert "balance.name" in two.text and "torch" in two.text


def test_collapse_and_harm_are_reported(two):
    assert "Yes: WiFi (in 1 of 2 runs)" in two.text
    assert "adding a sensor hurt in 3 of 28 cases" in two.text
    assert "A sensor that a model ignores cannot hurt it" in two.text


def test_no_difference_is_called_no_difference(make_run, tmp_path):
    runs = [make_run(strategy="joint", gain=1.0, frames=4), make_run(strategy="awc", gain=1.0, frames=4)]
    page = Page(write_report(runs, tmp_path / "r.html").read_text("utf-8"))
    assert "No difference beyond the interval" in page.text
    assert "AWC makes no difference beyond the interval" in page.text


def test_other_strategies_modalities_and_joints(kinect_run, joint_run, tmp_path):
    page = Page(write_report([kinect_run, joint_run], tmp_path / "r.html").read_text("utf-8"))
    assert "spine shoulder" in json.dumps(page.payload()) and "right wrist" in json.dumps(page.payload())
    assert "the runs predict different numbers of joints" in page.text and "Is one better?" in page.text


def test_methods_of_one_strategy_are_told_apart(make_run, tmp_path):
    balance = [{"balance": {"name": "awc", "settings": {"alpha": alpha}}} for alpha in (0.1, 1)]
    runs = [make_run(strategy="awc", config=each, frames=3) for each in balance]
    page = Page(write_report(runs, tmp_path / "r.html").read_text("utf-8"))
    assert "AWC (alpha 0.1)" in page.text and "AWC (alpha 1)" in page.text
    for theme in page.payload()["themes"].values():
        assert theme["s0"] != theme["s1"]


def test_colours_of_modalities_and_strategies_do_not_depend_on_the_report(kinect_run, joint_run, awc_run, tmp_path):
    def colours(*runs):
        page = Page(write_report(runs, tmp_path / "r.html").read_text("utf-8"))
        study = build_study([load_run(run) for run in runs])
        theme = page.payload()["themes"]["dark"]
        named = {name: theme[f"m{i}"] for i, name in enumerate(study.modalities)}
        return named | {name: theme[f"s{i}"] for i, name in reversed(list(enumerate(study.strategies)))}

    everything = colours(awc_run, joint_run)
    assert len(set(everything.values())) == 6
    assert colours(kinect_run).items() <= everything.items()
    assert colours(joint_run, awc_run) == everything


@pytest.mark.parametrize("count", [1, 5])
def test_one_and_five_runs(make_run, tmp_path, count):
    specs = [("joint", 0), ("awc", 0), ("joint", 1), ("awc", 1), ("ogm_ge", 0)][:count]
    runs = [make_run(strategy=s, seed=i, frames=3, gain=1 + i / 50) for s, i in specs]
    page = Page(write_report(runs, tmp_path / "r.html").read_text("utf-8"))
    assert [i for i in page.ids() if i in SECTIONS] == list(SECTIONS)
    if count == 1:
        assert "Nothing to compare" in page.text
    else:
        for label in ("joint training, seed 0", "AWC, seed 1", "ogm-ge"):
            assert label in page.text


def test_without_optional_files(make_run, tmp_path):
    omit = ("contributions.npz", "scenes.npz", "predictions.npz", "metrics.jsonl", "env.json", "status.json")
    page = Page(write_report([make_run(omit=omit, frames=3)], tmp_path / "r.html").read_text("utf-8"))
    assert [i for i in page.ids() if i in SECTIONS] == list(SECTIONS)
    for name in omit[:5]:
        assert name in page.text
    assert "equipose contributions" in page.text and "equipose evaluate" in page.text


def test_bare_metrics_and_one_modality(make_run, tmp_path):
    folder = make_run(
        omit=("contributions.npz", "scenes.npz", "predictions.npz", "metrics.jsonl"), modalities=("rgb",), frames=2
    )
    full = {"modalities": ["rgb"], "mpjpe_mm": 91.25}
    (folder / "metrics.json").write_text(json.dumps({"samples": 3, "modalities": ["rgb"], "coalitions": [full]}))
    page = Page(write_report([folder], tmp_path / "r.html").read_text("utf-8"))
    assert "With RGB alone" in page.text and "91.2" in page.text


def test_strings_from_files_cannot_become_markup(make_run, tmp_path):
    folder = make_run(frames=2, config={"balance": {"name": EVIL, "settings": {EVIL: EVIL}}})
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics["alarms"] = [EVIL]
    metrics["per_action"][0]["name"] = EVIL
    metrics["joints"] = [EVIL + str(j) for j in range(17)]
    metrics["skeleton"] = EVIL
    metrics["parameters"] = {EVIL: 5}
    for row in metrics["coalitions"]:
        row["modalities"] = [EVIL if name == "wifi" else name for name in row["modalities"]]
    metrics["modalities"][-1] = EVIL
    metrics["simulated"] = [EVIL]
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "env.json").write_text(json.dumps({"command": [EVIL], EVIL: EVIL}))
    (folder / "status.json").write_text(json.dumps({"state": EVIL}))
    with np.load(folder / "scenes.npz") as stored:
        arrays = {**stored, "scene0_name": np.array(EVIL)}
    np.savez(folder / "scenes.npz", **arrays)
    text = write_report([folder], tmp_path / "r.html").read_text("utf-8")
    page = Page(text)
    assert len(page.scripts) == 5
    assert not [t for t, _ in page.elements if t == "img"]
    assert EVIL in page.text
    drawn = json.dumps(page.payload()["charts"])
    assert "<img" not in drawn and "<script" not in drawn


def test_output_place(make_run, tmp_path, capsys):
    folder = make_run(frames=2)
    assert report([folder]) == 0
    assert (folder / "report.html").is_file() and str(folder / "report.html") in capsys.readouterr().out
    assert report([folder], tmp_path) == 0 and (tmp_path / "report.html").is_file()
    assert report([folder], tmp_path / "new" / "page.html") == 0 and (tmp_path / "new" / "page.html").is_file()
    assert not list(tmp_path.rglob("*.part"))


def test_foreign_file_is_not_overwritten(make_run, tmp_path):
    precious = tmp_path / "thesis.html"
    precious.write_text("<p>mine</p>")
    with pytest.raises(UsageError, match="is no equipose report"):
        write_report([make_run(frames=2)], precious)
    assert precious.read_text() == "<p>mine</p>"


def test_wrong_arguments(make_run):
    with pytest.raises(UsageError, match="no run was named"):
        write_report([])
    folder = make_run(frames=2)
    with pytest.raises(UsageError, match="named twice"):
        write_report([folder, folder / "."])


def test_same_folders_give_the_same_page(joint_run, awc_run, tmp_path, two_text):
    assert write_report([joint_run, awc_run], tmp_path / "again.html").read_text("utf-8") == two_text


def test_needs_no_torch_and_little_time(joint_run, awc_run, tmp_path):
    program = (
        "import sys, time; from pathlib import Path; start = time.monotonic()\n"
        "from equipose.cli.report import report\n"
        "report([Path(sys.argv[1]), Path(sys.argv[2])], Path(sys.argv[3]))\n"
        "assert 'torch' not in sys.modules, 'torch was imported'\n"
        "assert time.process_time() < 5.0"
    )
    arguments = [sys.executable, "-c", program, str(joint_run), str(awc_run), str(tmp_path / "r.html")]
    subprocess.run(arguments, check=True, capture_output=True, text=True)
