"""The page and its JSON file: structure, offline, errors; and once on real recordings."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys

import numpy as np
import plotly.graph_objects as go
import pytest

from equipose.cli.main import main
from equipose.data.mars import KINECT_COLUMNS, RADAR_COLUMNS
from equipose.errors import DataError, UsageError
from equipose.report.fidelity import write_fidelity
from equipose.report.fidelity.source import REAL_FILES, open_simulation
from equipose.simulate.mmfi_writer import write_mmfi

SECTIONS = ("overview", "wifi", "mmwave", "lidar", "motion", "method", "sources")
PRESET = {"subjects": (1, 11), "actions": (12,), "frames": 6}


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    root = tmp_path_factory.mktemp("fidelity") / "simulated"
    write_mmfi(root, **PRESET, jobs=1, progress=False)
    return root


@pytest.fixture(scope="module")
def made_up(tmp_path_factory):
    """A folder in the form of the real recordings, filled with random numbers."""
    folder = tmp_path_factory.mktemp("real")
    rng = np.random.default_rng(0)
    for name in ("mmfi_statistics", "atheros_csi", "ouster_os1_32", "cmu_mocap", "mars"):
        (folder / name).mkdir()
    for room in ("E01", "E02", "E03"):
        table = np.stack([np.arange(114), rng.normal(40, 1, 114), rng.normal(5, 0.1, 114)], axis=1)
        path = folder / "mmfi_statistics" / f"{room}_profile.csv"
        np.savetxt(path, table, delimiter=",", header="subcarrier,mean_amp,std_amp", comments="")
    csi = np.rint(rng.normal(0, 100, (80, 56, 3, 2)) + 1j * rng.normal(0, 100, (80, 56, 3, 2)))
    np.savez(folder / "atheros_csi" / "ath_csi_1_parsed.npz", csi=csi, timestamp=2000 * np.arange(80))
    azimuth, elevation = np.meshgrid(
        np.linspace(0, 2 * np.pi, 128, endpoint=False), np.radians(np.linspace(-15, 15, 8))
    )
    direction = np.stack(
        [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)], axis=-1
    )
    distance = rng.normal(7, 0.01, azimuth.shape)
    valid = rng.random(azimuth.shape) > 0.03
    path = folder / "ouster_os1_32" / "os1_32_frame.npz"
    more = {"reflectivity": np.full(azimuth.shape, 20), "beam_altitude_deg": np.degrees(elevation[:, 0])}
    np.savez(path, xyz=distance[..., None] * direction, range_mm=1000 * distance, valid=valid, **more)
    for clip in ("01_01", "02_01", "03_01"):
        joints = rng.normal(0, 0.3, (1, 17, 3)) + np.cumsum(rng.normal(0, 0.01, (60, 17, 3)), axis=0)
        np.savez(folder / "cmu_mocap" / f"{clip}_30hz.npz", joints17=joints.astype(np.float32))
    for subject in (1, 3):
        place = folder / "mars" / f"subject{subject}"
        place.mkdir()
        frames = np.concatenate([1000 * m + np.arange(5) for m in range(10)])
        points = np.repeat(frames, 3)
        rows = np.column_stack([points, np.full(150, 3), rng.normal(size=(150, 6))])
        rows[:, 5], rows[:, 6] = 0.356 * rng.integers(-3, 4, 150), rng.integers(5, 300, 150)
        np.savetxt(place / "radar_data_test.csv", rows, delimiter=",", header=",".join(RADAR_COLUMNS), comments="")
        labels = rng.normal(size=(50, 75))
        np.savetxt(place / "kinect_data_test.csv", labels, delimiter=",", header=",".join(KINECT_COLUMNS), comments="")
    return folder


@pytest.fixture(scope="module")
def written(simulated, made_up, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    page = write_fidelity(simulated, made_up, out, out / "numbers.json")
    return page.read_text("utf-8"), json.loads((out / "numbers.json").read_text("utf-8")), page


def payload(page):
    return json.loads(re.search(r'<script type="application/json" id="payload">(.*?)</script>', page, re.S)[1])


def test_sections_in_order_and_links_work(written):
    page = written[0]
    assert tuple(re.findall(r'<section id="([^"]+)"', page)) == SECTIONS
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', page)) == set(SECTIONS)


def test_every_statistic_has_distance_tolerance_reason_and_verdict_in_the_first_table(written):
    page, data, _ = written
    table = page[page.index("<table>") : page.index("</table>")]
    assert page.index("<table>") < page.index('id="wifi"')
    body = re.findall(r"<tr><th scope=\"row\">(.*?)</tr>", table, re.S)
    assert len(body) == len(data["statistics"]) > 30
    for line, row in zip(body, data["statistics"], strict=True):
        assert line.startswith(row["name"].replace("'", "&#x27;"))
        verdict = "context" if row["context"] else "within" if row["within"] else "outside"
        assert f'<td class="{verdict}">' in line
        why = row["context"] or row["reason"]
        assert why and why.replace("'", "&#x27;") in line
        assert row["distance"] >= 0 and row["tolerance"] >= 0 and len(row["real"]) >= 2
        if row["context"]:
            assert row["within"] is None
        else:  # stored to six digits
            assert row["within"] == (row["distance"] <= row["tolerance"] * (1 + 1e-5) + 1e-12)
    judged = data["within"] + data["outside"]
    assert judged + data["context"] == len(data["statistics"]) and judged > 20
    assert f"{data['within']} of {judged} statistics" in page


def test_charts_are_valid_have_titled_axes_and_a_place(written):
    page = written[0]
    charts = payload(page)["charts"]
    assert len(charts) == len(re.findall(r'id="chart-\d+"', page)) > 20
    for chart in charts:
        plain = json.loads(re.sub(r'"@\w+"', '"#123456"', json.dumps(chart)))
        go.Figure(plain)
        assert chart["layout"]["xaxis"]["title"]["text"]
        used = set(re.findall(r'"@(\w+)"', json.dumps(chart)))
        assert all(used <= set(theme) for theme in payload(page)["themes"].values())


def test_the_page_runs_only_scripts_it_allows_and_loads_nothing(written):
    page = written[0]
    allowed = set(re.findall(r"'(sha256-[^']+)'", page[:4096]))
    scripts = re.findall(r"<script>(.*?)</script>", page, re.S)
    hashes = {"sha256-" + base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts}
    assert hashes == allowed
    assert not re.findall(r"<(?:img|link|iframe)\b|<script[^>]+src=", page[: page.index("plotly.js v")])


def test_no_folder_of_this_machine_enters_page_or_numbers(written, simulated, made_up):
    page, data, path = written
    for folder in (simulated, made_up, path.parent):
        assert str(folder) not in page and str(folder) not in json.dumps(data)
    assert data["commands"][0] == "equipose simulate DATA --seed 0"


def test_a_sensor_that_was_not_simulated_is_named_and_left_out(tmp_path, made_up):
    root = tmp_path / "simulated"
    write_mmfi(root, **PRESET, modalities=("rgb", "lidar"), jobs=1, progress=False)
    page = write_fidelity(root, made_up, tmp_path / "page.html").read_text("utf-8")
    assert "Not simulated, so not compared: wifi and mmwave." in page
    assert tuple(re.findall(r'<section id="([^"]+)"', page)) == ("overview", "lidar", "motion", "method", "sources")


def test_a_large_simulation_is_read_in_part(simulated):
    assert len(open_simulation(simulated, frame_limit=6).recordings) == 1
    assert open_simulation(simulated).num_frames == 12


def test_no_real_folder_is_a_usage_error_that_says_what_to_give(simulated, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("EQUIPOSE_REAL_DATA", raising=False)
    out = str(tmp_path / "page.html")
    assert main(["simulate", "report", str(simulated), "--out", out]) == 2
    message = capsys.readouterr().err
    assert "--real FOLDER" in message and "EQUIPOSE_REAL_DATA" in message and "cmu_mocap" in message
    assert main(["simulate", "report", str(simulated), "--real", str(tmp_path / "none"), "--out", out]) == 3
    assert "none" in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize("name", sorted(REAL_FILES))
def test_a_part_of_the_real_folder_that_is_missing_is_named(name, simulated, tmp_path):
    for other in REAL_FILES:
        if other != name:
            (tmp_path / other).mkdir(parents=True)
    with pytest.raises(DataError, match=f"holds no {re.escape(name)}"):
        write_fidelity(simulated, tmp_path, tmp_path / "page.html")


def test_what_is_no_simulation_is_refused(tmp_path, made_up):
    with pytest.raises(DataError, match="no folder at"):
        write_fidelity(tmp_path / "none", made_up, tmp_path / "page.html")
    with pytest.raises(DataError, match=r"holds no simulation\.json"):
        write_fidelity(made_up, made_up, tmp_path / "page.html")


def test_a_foreign_file_is_not_replaced_and_an_own_page_is(written, simulated, made_up, tmp_path):
    foreign = tmp_path / "notes.html"
    foreign.write_text("my notes")
    with pytest.raises(UsageError, match="choose another file"):
        write_fidelity(simulated, made_up, foreign)
    assert foreign.read_text() == "my notes"
    assert write_fidelity(simulated, made_up, written[2]).read_text("utf-8") == written[0]


def test_it_imports_no_torch():
    code = "import sys, equipose.report.fidelity; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.data
@pytest.mark.slow
def test_the_tiny_preset_against_real_recordings(tmp_path, real_data):
    root, numbers = tmp_path / "tiny", tmp_path / "fidelity.json"
    assert main(["simulate", str(root), "--preset", "tiny", "--jobs", "1"]) == 0
    words = ["--real", str(real_data), "--out", str(tmp_path / "page.html"), "--json", str(numbers)]
    assert main(["simulate", "report", str(root), *words]) == 0
    data = json.loads(numbers.read_text("utf-8"))
    rows = {row["key"]: row for row in data["statistics"]}
    # Facts about the real recordings, whatever the simulator does.
    assert rows["radar_doppler_step"]["real"] == {"MARS subject 1": 0.356, "MARS subject 3": 0.356}
    assert set(rows["csi_integer"]["real"].values()) == {100.0}
    assert all(abs(value - 360 / 1024) < 1e-4 for value in rows["lidar_azimuth_step"]["real"].values())
    # Facts about the format that the simulator shares.
    for key in ("csi_integer", "lidar_azimuth_step", "bone_stretch"):
        assert rows[key]["within"], key
    assert data["commands"][0] == "equipose simulate DATA --preset tiny --seed 0"
