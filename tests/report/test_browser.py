"""The page in a real browser: no script error, every chart drawn, labels apart, both themes, the slider moves."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess

import pytest

from equipose.report import write_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--dump-dom",
]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed; on Debian: apt-get install chromium"),
]

PROBE = """
const box = (element) => element.getBoundingClientRect();
const overlap = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
  && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1;
const found = { overlaps: [], outside: [], charts: 0, labels: 0, titles: 0 };
found.wide = document.body.scrollWidth - document.body.clientWidth;
found.width = document.body.clientWidth;
document.querySelectorAll(".plot[id^=chart]").forEach((plot) => {
  found.charts += plot.querySelectorAll("svg.main-svg").length > 0;
  const labels = [...plot.querySelectorAll(
    ".xtick text, .ytick text, .x2tick text, .xtitle, .ytitle, .x2title, .legendtext, .annotation-text"
  )].filter((label) => label.textContent.trim() && box(label).width > 0);
  const frame = box(plot);
  found.labels += labels.length;
  found.titles += plot.querySelectorAll(".xtitle, .x2title").length;
  labels.forEach((a, i) => {
    const at = box(a);
    const beside = at.left < frame.left - 1 || at.right > frame.right + 1;
    if (beside || at.top < frame.top - 1 || at.bottom > frame.bottom + 1)
      found.outside.push([plot.id, a.textContent]);
    labels.slice(i + 1).forEach((b) => {
      if (overlap(at, box(b))) found.overlaps.push([plot.id, a.textContent, b.textContent]);
    });
  });
});
found.canvas = document.querySelectorAll("#scene canvas").length;
const before = document.getElementById("scene-state").textContent;
const x = () => document.getElementById("scene").data.at(-1).x.slice(0, 3);
const start = x();
const ink = (name) => {
  equipose.setTheme(name);
  return getComputedStyle(document.querySelector("#chart-0 .ytick text")).fill;
};
found.ink = { dark: ink("dark"), light: ink("light") };
found.up = document.getElementById("scene").layout.scene.camera.up;
equipose.showFrame(7).then(() => {
  found.slider = document.getElementById("scene-time").value;
  const told = document.getElementById("scene-state").textContent;
  found.moved = told !== before && JSON.stringify(start) !== JSON.stringify(x());
  const out = document.createElement("pre");
  out.id = "found";
  out.textContent = JSON.stringify(found);
  document.body.append(out);
});
"""


def dump(page, folder, width=1280, query=""):
    """The DOM after all scripts have run."""
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={folder / 'profile'}", f"--window-size={width},1000"]
    done = subprocess.run([*command, f"file://{page}{query}"], check=True, capture_output=True, text=True, timeout=120)
    return done.stdout


def root(dom):
    return re.search(r"<html[^>]*>", dom)[0]


@pytest.fixture(scope="module")
def page(joint_run, awc_run, tmp_path_factory):
    return write_report([joint_run, awc_run], tmp_path_factory.mktemp("browser") / "report.html")


def probe(page, folder, width, style=""):
    """Measure a copy of the page that lets our script run too, laid out ``width`` pixels wide."""
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text("utf-8"))
    # The browser opens no window below 500 pixels, so the page itself is made narrow.
    text = text.replace("</style>", f"html{{width:{width}px}}{style}</style>", 1)
    copy = folder / "probe.html"
    copy.write_text(text.replace("</body>", f"<script>{PROBE}</script></body>"), "utf-8")
    dom = dump(copy, folder, width)
    assert "data-errors" not in root(dom), root(dom)
    return json.loads(html.unescape(re.search(r'<pre id="found">(.*?)</pre>', dom, re.DOTALL)[1]))


def test_the_page_itself_runs_under_its_own_policy(page, tmp_path):
    dom = dump(page, tmp_path, query="?theme=dark")
    assert 'data-ready="charts"' in root(dom) and 'data-theme="dark"' in root(dom)
    assert "data-errors" not in root(dom), root(dom)
    assert "<canvas" in dom


@pytest.mark.parametrize("width", [1280, 420])
def test_charts_labels_themes_and_slider(page, tmp_path, width):
    found = probe(page, tmp_path, width)
    charts = page.read_text("utf-8").count('class="plot" id="chart-')
    assert found["charts"] == charts >= 10 and found["labels"] > 140
    assert found["width"] == width and found["titles"] >= 6
    assert found["overlaps"] == []
    assert found["outside"] == []
    assert found["wide"] <= 0, "the page scrolls sideways"
    assert found["canvas"] >= 1 and found["moved"] and found["slider"] == "7"
    assert found["up"] == {"x": 0, "y": -1, "z": 0}
    assert found["ink"] == {"dark": "rgb(232, 235, 240)", "light": "rgb(27, 33, 41)"}


def test_overlapping_labels_would_be_seen(page, tmp_path):
    assert probe(page, tmp_path, 1280, ".ytick text{font-size:70px !important}")["overlaps"]


def test_many_runs_keep_their_labels_apart(make_run, tmp_path):
    runs = [make_run(strategy=s, seed=i, frames=3) for i in range(3) for s in ("joint", "awc")]
    found = probe(write_report(runs, tmp_path / "report.html"), tmp_path, 1280)
    assert found["overlaps"] == [] and found["outside"] == []


def test_a_script_error_would_be_seen(page, tmp_path):
    copy = tmp_path / "broken.html"
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text("utf-8"))
    copy.write_text(text.replace("</body>", "<script>missing.function()</script></body>"), "utf-8")
    assert "data-errors" in root(dump(copy, tmp_path))


def test_a_foreign_script_is_blocked(page, tmp_path):
    copy = tmp_path / "foreign.html"
    evil = "<script>document.title = 'taken over'</script></body>"
    copy.write_text(page.read_text("utf-8").replace("</body>", evil), "utf-8")
    dom = dump(copy, tmp_path)
    assert "<title>taken over" not in dom
    assert "blocked" in root(dom)
