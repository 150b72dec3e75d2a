"""The page: what it says is what the study says, names cannot break it, and it does with less."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from equipose.errors import UsageError
from equipose.report.markup import TIMES, change, interval, number, percent
from equipose.stream_benchmark.page import GENERATOR, render, write_page
from equipose.stream_benchmark.page.over_time import looks_in, matrix_in
from equipose.stream_benchmark.page.picks import RECOMMENDED, cases, clean_table, recommended
from equipose.stream_benchmark.page.strength import sweeps
from equipose.stream_benchmark.study import subsets

NOISY = {"label": "noisy", "corruption": {"sensor_rate": 0.4}}
BASE = {"data": {"modalities": ["rgb", "lidar"]}}


class Outline(HTMLParser):
    """Text of every table cell and heading, the text outside scripts, and whether the tags are balanced."""

    VOID = ("meta", "br", "link", "input", "img")

    def __init__(self, page):
        super().__init__()
        self.open, self.cells, self.text, self.tags = [], [], [], []
        self.feed(re.sub(r"(<script[^>]*>).*?</script>", r"\1</script>", page, flags=re.DOTALL))
        assert not self.open

    def handle_starttag(self, name, attributes):
        self.tags.append((name, dict(attributes)))
        if name not in self.VOID:
            self.open.append(name)
        if name in ("td", "th"):
            self.cells.append("")

    def handle_endtag(self, name):
        assert self.open.pop() == name

    def handle_data(self, data):
        if self.open and self.open[-1] == "style":
            return
        self.text.append(data)
        if "td" in self.open or "th" in self.open:
            self.cells[-1] += data


def told(page):
    return " ".join(Outline(page).text)


@pytest.fixture(scope="module")
def full(page_study):
    return page_study(skip="lwf, clean")


@pytest.fixture(scope="module")
def page(full):
    return render(*full)


def test_every_method_condition_order_and_number_of_the_main_tables_is_there(full, page):
    study, _ = full
    outline = Outline(page)
    text = " ".join(outline.text)
    for table in study.tables:
        assert table.noise.label in text
        for row in table.rows:
            assert row.label in text
        for row in table.finished:
            for measure, estimate in row.values.items():
                shown = {"gap_closed": percent(estimate.value), "plasticity": number(estimate.value, 2)}
                cell = shown.get(measure, number(estimate.value))
                ends = estimate.interval
                if ends is not None:
                    digits, scale = {"gap_closed": (0, 100), "plasticity": (2, 1)}.get(measure, (1, 1))
                    cell += interval((scale * ends[0], scale * ends[1]), digits)
                assert cell in outline.cells, (table.noise.label, row.label, measure)
            for measure, estimate in row.differences.items():
                ends = interval(estimate.interval, 1, True)
                mark = "\N{THIN SPACE}▾" if estimate.below else "\N{THIN SPACE}▴" if estimate.above else ""
                assert change(estimate.value) + mark + ends in outline.cells, (row.label, measure)
    assert "E03 → E01 → E04 → E02" in text


def test_subsets_matrices_and_costs_are_those_of_the_study(full, page):
    study, _ = full
    outline = Outline(page)
    row = recommended(study, study.tables[1])
    for names in subsets(study.tables[1].sensors):
        assert change(row.subsets[names]["forgetting_mm"].value) in outline.cells
    for order in (0, 1):
        for value in row.runs.matrix(order=order).ravel():
            assert number(value) in outline.cells
    assert f"{row.cost.step_ratio:.2f}{TIMES}" in outline.cells
    assert number(1.48, 1, "MB") in outline.cells


def test_the_headline_tells_the_recommended_preset_its_noise_and_its_oracle(full, page):
    study, _ = full
    text = told(page)
    table = clean_table(study)
    row = recommended(study, table)
    assert row.label == "adaptive, noise kept out" and row.strategy == RECOMMENDED
    for part in (
        f"the recommended preset ({row.label}) ends at {number(row.values['final_mm'].value, 1, 'mm')}",
        "better than fine_tune",
        f"closes {percent(row.values['gap_closed'].value)}",
        "of the gap to joint training",
        f"its forgetting is {number(row.values['forgetting_mm'].value, 1, 'mm')}, that of fine_tune",
        'Under the noise "sensors 40 %, labels 20 %", the worst of 2, adaptive, noise kept out ends at',
        "(mean of 4 runs)",
        "worse than the oracle that is told what is corrupt",
        "better than the same without separation",
    ):
        assert part in text, part
    assert "LiDAR and RGB: simulated" in text and "2 seeds say little" in text and "Only 2 orders" in text


def test_noise_is_compared_with_the_same_method(full):
    study, _ = full
    noisy = study.tables[2]
    found = {case.name: case for case in cases(study, noisy)}
    assert set(found) == {"fine_tune", "er", "adaptive, everything"}
    case = found["adaptive, everything"]
    assert [row.label for row in (case.off, case.find, case.known, case.clean)] == [
        "adaptive, everything",
        "adaptive, noise kept out",
        "adaptive, oracle",
        "adaptive, noise kept out",
    ]
    errors = [row.values["final_mm"].value for row in (case.off, case.find, case.known, case.clean)]
    assert case.cost.value == pytest.approx(errors[1] - errors[3])
    assert case.excess.value == pytest.approx(errors[1] - errors[2])
    assert case.gain.value == pytest.approx(errors[1] - errors[0])
    assert case.repaired.value == pytest.approx((errors[0] - errors[1]) / (errors[0] - errors[2]))
    assert found["er"].known is None and found["er"].excess is None and found["fine_tune"].find is None


def test_a_sweep_is_what_differs_in_one_number_alone(full):
    study, _ = full
    found = sweeps(study, study.tables[0])
    assert [(name, [(value, row.label) for value, row in rows]) for name, rows in found] == [
        ("ewc: strength", [(1.0, "EWC, weak"), (10.0, "EWC"), (100.0, "EWC, strong")])
    ]


def test_matrices_of_bounds_stand_in_the_order_asked_for(full):
    study, _ = full
    joint = study.tables[0].joint
    names = ("E03", "E01", "E04", "E02")
    errors = next(errors for key, errors in joint.runs.errors.items() if key[0] == 1)
    expected = joint.runs.matrix(order=1)[0]
    assert matrix_in(joint, 1, names)[0].tolist() == [expected[errors.names.index(name)] for name in names]
    assert matrix_in(joint, 1, ("E01", "E02")) is None


def test_looks_lie_within_their_experience(full):
    study, _ = full
    row = study.tables[0].rows[0]
    looks = looks_in(row, 0)
    watched = [errors.watched for key, errors in row.runs.errors.items() if key[0] == 0]
    assert len(looks) == len(watched[0]) and (np.floor(looks[:, 0]) == looks[:, 3]).all()
    assert looks[:, 2].mean() == pytest.approx(np.mean([each[:, 3].mean() for each in watched]))


def test_names_cannot_break_the_page(page_study):
    evil = '<img src=x onerror="alert(1)">&</script>'
    study, out = page_study(
        title=evil,
        base=BASE,
        noise=["clean", {**NOISY, "label": evil}],
        methods=["fine_tune", {"label": evil + "!", "continual": RECOMMENDED, "separation": "find"}],
        bounds=["joint"],
    )
    page = render(study, out)
    outline = Outline(page)
    assert "<img" not in page and "alert(1)" in page
    assert not [name for name, attributes in outline.tags if name == "img" or "onerror" in attributes]
    assert any(evil + "!" in cell for cell in outline.cells)


def test_what_is_missing_is_named(page):
    text = told(page)
    assert "Not finished: lwf." in text
    assert "4 runs are missing" in text and "lwf, clean, E01-E02-E03-E04, seed 0: not run yet" in text


def test_a_condition_without_a_finished_run_says_so(page_study):
    study, out = page_study(skip="noisy", base=BASE, noise=["clean", NOISY], methods=["fine_tune", "er"])
    text = told(render(study, out))
    assert "Nothing is finished here yet." in text and "er, noisy, seed 0: not run yet" in text


def test_one_method_one_seed_one_order_and_no_noise(page_study):
    study, out = page_study(base=BASE, methods=["fine_tune"])
    page = render(study, out)
    text = told(page)
    assert not [name for name, _ in Outline(page).tags if name == "select"]
    assert "No method beside the reference is finished" in text
    assert "joint training, so no gap" in text and "One seed" in text and "One order" in text
    assert "Every condition is without noise." in text and "No run kept examples" in text


def test_without_the_recommended_preset_it_says_what_it_speaks_of(page_study):
    study, out = page_study(base=BASE, noise=[NOISY], methods=["fine_tune", "er"], bounds=["joint"])
    text = told(render(study, out))
    assert f"No run of the recommended preset ({RECOMMENDED}) is finished" in text
    assert 'Under the noise "noisy", er ends at' in text and "a stream without noise" in text
    assert "the oracle that knows the noise (noisy)" in text


def test_examples_are_those_of_the_recommended_preset_with_a_picture_each(page):
    part = page[page.index('<section id="examples"') : page.index('<section id="strength"')]
    assert "adaptive, noise kept out, sensors 20 %" in part
    assert part.count('class="example caught"') == 6 and part.count('class="example wrong"') == 2
    assert part.count("<svg viewBox") >= 2 * 8 - 2 and "nan" not in part
    assert "rightly set aside" in part and "missed" in part and "false alarm" in part


def test_the_page_is_one_offline_file_of_a_sensible_size(full):
    study, out = full
    path = write_page(out / "continual.html", study)
    page = path.read_text("utf-8")
    assert len(page) < 6e6 and f'content="{GENERATOR}"' in page
    markup = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert "http" not in markup.replace("http-equiv", "") and "src=" not in markup
    write_page(path, study)
    path.write_text("something else")
    with pytest.raises(UsageError, match="is no equipose continual"):
        write_page(path, study)
