"""The page in a real browser: no script error, charts drawn, the selects show what they name, no label on another."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess

import pytest

from equipose.stream_benchmark.page import write_page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
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
const look = () => {
  const found = { overlaps: [], outside: [], charts: 0 };
  document.querySelectorAll(".plot[id^=chart]").forEach((plot) => {
    if (!plot.offsetParent) return;
    found.charts += plot.querySelectorAll("svg.main-svg").length > 0;
    const frame = box(plot);
    const labels = [...plot.querySelectorAll("[class*=tick] text, .xtitle, .ytitle, .legendtext")]
      .filter((label) => label.textContent.trim() && box(label).width > 0);
    labels.forEach((a, i) => {
      if (box(a).left < frame.left - 1 || box(a).right > frame.right + 1) found.outside.push([plot.id, a.textContent]);
      labels.slice(i + 1).forEach((b) => {
        if (overlap(box(a), box(b))) found.overlaps.push([plot.id, a.textContent, b.textContent]);
      });
    });
  });
  const shown = (query) => [...document.querySelectorAll(query)].filter((e) => e.offsetParent);
  found.titles = shown("[data-when] > h3").map((e) => e.textContent);
  found.widths = shown(".plot")
    .map((e) => Math.round(box(e.querySelector("svg")).width - box(e).width));
  return found;
};
const first = look();
const choose = (name, value) => {
  const select = document.querySelector(`select[data-choice=${name}]`);
  select.value = value;
  select.dispatchEvent(new Event("change"));
};
choose("condition", "2");
choose("order", "1");
choose("corruption", "2");
setTimeout(() => {
  const out = document.createElement("pre");
  out.id = "found";
  const synced = new Set([...document.querySelectorAll("select[data-choice=condition]")].map((each) => each.value));
  out.textContent = JSON.stringify({ first, then: look(), synced: [...synced],
    wide: document.body.scrollWidth - document.body.clientWidth });
  document.body.append(out);
}, 1500);
"""


def dump(page, folder, width=1280, query=""):
    """The DOM after all scripts have run."""
    command = [CHROMIUM, *FLAGS, "--virtual-time-budget=15000", f"--user-data-dir={folder / 'profile'}"]
    command += [f"--window-size={width},1000", f"file://{page}{query}"]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


def root(dom):
    return re.search(r"<html[^>]*>", dom)[0]


@pytest.fixture
def page(page_study):
    study, out = page_study()
    return write_page(out / "continual.html", study)


def test_it_runs_under_its_own_policy(page, tmp_path):
    dom = dump(page, tmp_path, query="?theme=dark")
    assert 'data-ready="charts"' in root(dom) and 'data-theme="dark"' in root(dom)
    assert "data-errors" not in root(dom), root(dom)


@pytest.mark.parametrize("width", [1280, 420])
def test_selects_show_one_variant_each_and_charts_fit(page, tmp_path, width):
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text("utf-8"))
    text = text.replace("</style>", f"html{{width:{width}px}}</style>", 1)
    copy = tmp_path / "probe.html"
    copy.write_text(text.replace("</body>", f"<script>{PROBE}</script></body>"), "utf-8")
    dom = dump(copy, tmp_path, width)
    assert "data-errors" not in root(dom), root(dom)
    found = json.loads(html.unescape(re.search(r'<pre id="found">(.*?)</pre>', dom, re.DOTALL)[1]))
    clean, noisy = "Noise: clean", "Noise: sensors 40 %, labels 20 %"
    assert found["first"]["titles"] == [
        *(clean, "clean, E01 → E02 → E03 → E04", clean, "Noise: sensors 20 %", clean, clean)
    ]
    assert found["then"]["titles"] == [
        *(noisy, "sensors 40 %, labels 20 %, E03 → E01 → E04 → E02", noisy, "Noise: clean", noisy, noisy)
    ]
    assert found["synced"] == ["2"] and found["wide"] <= 0
    for state in (found["first"], found["then"]):
        assert state["charts"] == 3 and set(state["widths"]) == {0}
        assert state["overlaps"] == [] and state["outside"] == []
