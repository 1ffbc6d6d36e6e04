"""One drawing, two back ends: what is drawn is computed once."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from steep.fit import fit as fit_curve
from steep.forecast import forecast
from steep.present import figures, numbers
from steep.present.drawing import Band, Drawing, HorizontalLine, Points, log_axis
from steep.present.learning import COMPOSITE, FIT, FORECAST, TRUTH, learning_curve
from steep.present.palette import COLOURS, DARK, LIGHT, colour, sequence
from steep.present.sizes import BETWEEN, MINIMUM, SMOOTH, error_by_size, model_size_curve
from steep.present.training import training_curves
from steep.records import (
    Fit,
    Interval,
    Measurement,
    Point,
    Region,
    Shard,
    SizeLaw,
    Status,
    Trial,
    settings,
)
from steep.records.trials import SizeCurve
from steep.select import select

RATE = numbers.scale("error")


@pytest.fixture(scope="module")
def curve(made_study):
    analysis = made_study.analysis
    first = analysis.curves[0]
    return learning_curve(
        first.fit, first.forecast, best_fits=analysis.best_fits,
        confrontations=analysis.confrontations, part="validation", points=COMPOSITE,
    )  # fmt: skip


@pytest.fixture(scope="module")
def drawings(made_study, curve):
    analysis = made_study.analysis
    return [
        curve,
        model_size_curve(analysis.best_fits, analysis.size_laws, analysis.confrontations),
        error_by_size(analysis.best_fits, RATE),
        training_curves(made_study.measurements, analysis.best_fits, RATE, "images"),
    ]


def named(drawing, legend):
    return [layer for layer in drawing.layers if layer.legend == legend]


def test_the_law_is_solid_over_the_points_and_dashed_beyond(curve, made_study):
    inside, beyond = named(curve, FIT)
    reference = made_study.analysis.curves[0].fit.reference
    assert (inside.dash, beyond.dash) == (False, True)
    assert inside.x[-1] == beyond.x[0] == pytest.approx(reference)
    assert beyond.x[-1] == pytest.approx(10 * reference)


def test_percent_points_with_error_bars(curve):
    (points,) = named(curve, COMPOSITE)
    assert points.y[0] == pytest.approx(42, abs=3)
    bars = zip(points.lower, points.y, points.upper, strict=True)
    assert all(low < y < high for low, y, high in bars)
    assert curve.y.title == "validation error rate (%)"
    assert curve.x.title == "training images"


def test_the_held_out_point_is_one_of_the_fit_in_a_ring_on_its_forecast(curve, made_study):
    met = made_study.analysis.confrontations[0]
    (truth,), (bar,), (points,) = (named(curve, n) for n in (TRUTH, FORECAST, COMPOSITE))
    assert truth.hollow
    assert (points.x[-1], points.y[-1]) == (truth.x[0], truth.y[0])
    (solid, _), (band,) = named(curve, FIT), [la for la in curve.layers if isinstance(la, Band)]
    assert solid.x[-1] == pytest.approx(8000)
    at = min(range(len(band.x)), key=lambda i: abs(band.x[i] - 8000))
    assert band.lower[at] < truth.y[0] < band.upper[at]
    assert truth.y == (pytest.approx(100 * met.error),)
    assert bar.lower == (pytest.approx(100 * met.forecast.lower),)


def test_single_models_lie_behind_the_composite_curve(curve):
    kinds = [layer.legend for layer in curve.layers]
    assert kinds.index("size 2 (1.2k)") < kinds.index(FIT) < kinds.index(COMPOSITE)


def test_a_size_tried_only_with_bad_hyperparameters_has_no_point():
    """A search that tries size 2 at one bad rate alone leaves no line through that error."""

    def shard(samples, *tried):
        found = [
            Measurement(
                Trial(0, samples, float(samples), size, settings({"rate": rate}), 0),
                Status.COMPLETE,
                validation_error=error,
                parameters=100 * size,
            )
            for size, rate, error in tried
        ]
        return select(found, [Shard(0, samples, float(samples), "items")], seeds=1)

    first = shard(100, (2, 1, 0.5), (4, 1, 0.4), (4, 9, 0.8))
    second = shard(200, (2, 9, 0.7), (4, 1, 0.3), (4, 9, 0.7))
    third = shard(400, (2, 1, 0.4), (4, 1, 0.2))
    points = tuple(Point(m, e) for m, e in ((100.0, 0.4), (200.0, 0.3), (400.0, 0.2)))
    drawing = learning_curve(Fit("too few points", points), best_fits=[*first, *second, *third])
    (small,), (large,) = named(drawing, "size 2 (200)"), named(drawing, "size 4 (400)")
    assert (small.x, small.y) == ((100.0, 400.0), (pytest.approx(50), pytest.approx(40)))
    assert large.x == (100.0, 200.0, 400.0)


def test_the_best_guess_is_drawn_only_where_it_does_not_squeeze_the_curve(made_study):
    fit = made_study.analysis.curves[0].fit
    assert learning_curve(fit).levels[0].y == pytest.approx(90)
    far = learning_curve(replace(fit, best_guess=50.0))
    assert far.levels == ()
    assert "lies above the figure" in far.caption


def test_the_best_guess_is_told_on_the_axis_where_it_is_drawn():
    points = [Point(m, m**-0.1) for m in (200, 400, 800, 1600)]
    fit = fit_curve(points=points, metric="1 - accuracy", best_guess=0.869)
    drawing = learning_curve(fit)
    (level,) = drawing.levels
    assert drawing.y.title == "1 - accuracy (%)"
    assert level.y == pytest.approx(86.9)
    assert level.name == "best guess 86.9 % (accuracy 13.1 %)"


def test_what_marks_a_minimum_is_in_the_legend(made_study):
    shard = made_study.analysis.best_fits[0]
    parameters = tuple(float(c.parameters) for c in shard.candidates[:3])
    minimum = (parameters[1], parameters[0], parameters[2])
    errors = (0.3, 0.2, 0.3)
    curve = SizeCurve(
        (1, 2, 3),
        parameters,
        errors,
        errors,
        errors,
        minimum,
        (2, 1, 3),
        leftover=0.0,
        score_se=0.0,
    )
    found = replace(shard, size_curve=curve, flags=(), adequate=shard.best)
    drawing = error_by_size([found], RATE)
    (dashed,) = [layer for layer in named(drawing, SMOOTH) if layer.dash]
    assert dashed.x == parameters
    assert named(drawing, BETWEEN)
    assert named(drawing, MINIMUM)
    assert {entry["name"] for entry in figures.legend(drawing)} >= {SMOOTH, BETWEEN, MINIMUM}


def test_a_curve_without_a_law_shows_its_points():
    points = (Point(100, 0.5), Point(200, 0.0, used=False, reason="zero"))
    drawing = learning_curve(Fit("too few points", points))
    assert [type(layer) for layer in drawing.layers] == [Points]
    figures.figure(drawing)


def test_a_curve_that_rises_is_carried_on_without_a_region():
    m = [100.0 * 2**k for k in range(5)]
    rising = fit_curve(samples=m, error=[0.3, 0.35, 0.4, 0.5, 0.55])
    drawing = learning_curve(rising, forecast(rising, at=[16_000]))
    assert any(isinstance(layer, Band) for layer in drawing.layers)
    assert drawing.shades == ()
    assert "so no law was fitted" in drawing.caption


def test_the_band_says_whose_it_is():
    m = [100.0 * 2**k for k in range(5)] * 3
    error = [m_**-0.3 * (1 + 0.01 * (i % 3)) for i, m_ in enumerate(m)]
    means, single = fit_curve(samples=m, error=error), fit_curve(samples=m[:5], error=error[:5])
    assert "90 % band of a new mean of 3 runs" in learning_curve(means).legend
    assert "90 % band of a new measurement" in learning_curve(single).legend


def test_a_studys_band_is_of_medians(curve):
    assert "A new measurement is, as the points are, a median over seeds." in curve.caption


def test_regions_are_shaded_where_they_are_likely(made_study):
    fit = made_study.analysis.curves[0].fit
    bend, end = Interval(400.0, 300.0, 600.0), Interval(3000.0, 2000.0, 3500.0)
    seen = (Region("small-data", None, bend, 2, 0.9), Region("power-law", bend, end, 4, 1.0),
            Region("irreducible-error", end, None, 0, 0.1))  # fmt: skip
    shades = learning_curve(replace(fit, regions=seen)).shades
    assert [shade.name for shade in shades] == ["small-data region", "power-law region"]
    assert shades[0].end == shades[1].start == 400
    assert shades[1].end == 8000  # the floor is unlikely: the power law holds to the last point


def test_edges_are_arrows(made_study):
    best_fits = [replace(b, edge="high", adequate_edge="low") for b in
                 made_study.analysis.best_fits[:2]]  # fmt: skip
    law = (("smallest adequate", SizeLaw("not measured", "no optimum inside")),)
    drawing = model_size_curve(best_fits, law)
    assert {layer.marker for layer in drawing.layers} == {"up", "down"}
    assert "at least" in drawing.caption


def test_without_parameters_there_is_no_size_figure(made_study):
    best = made_study.analysis.best_fits[0]
    bare = replace(best, best=replace(best.best, parameters=0))
    bare = replace(bare, candidates=(bare.best,))
    assert model_size_curve([bare], ()) is None
    assert error_by_size([bare], RATE) is None


def test_training_curves_have_a_panel_a_shard_and_open_on_a_searched_one(drawings):
    drawing = drawings[3]
    assert len(drawing.panels) == 7
    assert drawing.opens_on == "4,000 images"
    groups = re.findall(r'data-panel="([^"]*)"( style="display:none")?', figures.figure(drawing))
    assert {panel for panel, hidden in groups if not hidden} == {"4,000 images"}
    assert {panel for panel, hidden in groups if hidden} == set(drawing.panels) - {"4,000 images"}


def test_broken_evaluations_are_left_out_of_the_figure(made_study):
    runs = list(made_study.measurements[:4])
    broken = replace(runs[0].curve[-1], validation_error=math.inf)
    runs[0] = replace(runs[0], status=Status.DIVERGED, curve=(*runs[0].curve[:-1], broken))
    drawing = training_curves(runs, (), RATE, "images")
    assert "nan" not in figures.figure(drawing)
    json.dumps(figures.hover(drawing), allow_nan=False)


def test_figures_are_well_formed_and_of_numbers(drawings):
    for drawing in drawings:
        made = ElementTree.fromstring(f"<g>{figures.figure(drawing)}</g>")
        assert [svg.get("class") for svg in made] == ["plot wide", "plot narrow"]
        assert not re.search(r"\b(nan|inf|None)\b", figures.figure(drawing))
        json.dumps(figures.hover(drawing), allow_nan=False)


def test_a_value_lies_where_the_ticks_say(curve):
    """Between two ticks a point lies at its share of their logarithms, on both papers."""
    points = named(curve, COMPOSITE)[0]
    made = ElementTree.fromstring(f"<g>{figures.figure(curve)}</g>")
    for svg in made:
        # tick labels stand under their ticks; the point at the smallest size between two of them
        labels = {t.text: float(t.get("x")) for t in svg.iter("text") if t.get("x")}
        a, b = labels["300"], labels["3k"]
        marks = next(g for g in svg if g.get("data-legend") == COMPOSITE)[1].get("d")
        starts = [float(x) for x in re.findall(r"M([\d.]+) ", marks)]
        share = math.log(points.x[2] / 300) / math.log(10)
        assert starts[2] + points.size / 2 == pytest.approx(a + share * (b - a), abs=0.3)
        left, _, right, _ = map(float, svg.get("data-area").split())
        (found,) = [h for h in figures.hover(curve) if h["legend"] == COMPOSITE]
        assert left + found["x"][2] * (right - left) == pytest.approx(a + share * (b - a), abs=0.3)


def test_hover_texts_come_back_whole(drawings):
    for drawing in drawings:
        told = [h["start"] + rest for h in figures.hover(drawing) for rest in h["rest"]]
        hovers = [layer.hover for layer in drawing.layers if not isinstance(layer, Band)]
        assert told == [text.replace("<br>", "\n") for texts in hovers for text in texts]


@pytest.mark.parametrize("paper", [figures.WIDE, figures.NARROW])
def test_no_label_lies_over_another_or_outside(paper):
    """Axes with as many and as long labels as ``log_axis`` gives, on both papers."""
    for low, high in ((1e-6, 1e-2), (1, 1.2), (3.91e5, 4.2e9), (100, 1e9), (0.08, 0.11)):
        axis = log_axis("training pieces", [low, high])
        drawing = Drawing(
            "d", "t", "", axis, axis, (), levels=(HorizontalLine(high, "level", "best"),)
        )
        svg = ElementTree.fromstring(figures.figure(drawing, [paper]))
        boxes = []
        for text in svg.iter("text"):
            if text.get("x") is None:
                continue
            wide = 0.56 * paper.font * len(text.text)
            start = {"end": -wide, "middle": -wide / 2}[text.get("text-anchor")]
            left, y = float(text.get("x")) + start, float(text.get("y"))
            boxes.append((left, left + wide, y - 0.8 * paper.font, y, text.text))
        for a in boxes:
            assert a[0] >= 0, a
            assert a[1] <= paper.width, a
            for b in boxes:
                apart = a[1] <= b[0] or b[1] <= a[0] or a[3] <= b[2] or b[3] <= a[2]
                assert a is b or apart, (a, b)


def test_every_layer_is_in_the_legend_and_in_both_back_ends(drawings):
    for drawing in drawings:
        entries = {entry["name"] for entry in figures.legend(drawing)}
        assert entries == {layer.legend for layer in drawing.layers}
        drawn = figures.figure(drawing, [figures.WIDE])
        assert len(re.findall("<g data-legend=", drawn)) == len(drawing.layers)


def test_all_values_lie_within_the_axes(drawings):
    for drawing in drawings:
        for layer in drawing.layers:
            assert all(drawing.x.low <= x <= drawing.x.high for x in layer.x)
            if isinstance(layer, Points):
                assert all(drawing.y.low <= y <= drawing.y.high for y in layer.y)


def test_names_cannot_act_as_tags():
    fit = Fit("too few points", (Point(10, 0.5),), unit="<b>images</b><script>")
    text = figures.figure(learning_curve(fit))
    assert "<b>" not in text
    assert "<script>" not in text


def test_every_colour_is_readable_on_both_papers(drawings):
    for name in (*COLOURS, *sequence(23)):
        if not name.startswith(("shade", "faint", "paper")):
            assert contrast(colour(name, LIGHT), "#ffffff") > 3, name
            assert contrast(colour(name, DARK), "#12161c") > 3, name
    assert len({colour(name) for name in sequence(23)}) == 23
    used = {layer.colour for drawing in drawings for layer in drawing.layers}
    for paper in (LIGHT, DARK):
        assert {f"--{name}" for name in used} <= set(figures.colours(drawings, paper))


def contrast(one: str, two: str) -> float:
    """WCAG 2 contrast ratio."""

    def luminance(hexed: str) -> float:
        parts = [int(hexed[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(one), luminance(two)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_bands_hold_their_medians(drawings):
    for drawing in drawings[:2]:
        for band in (layer for layer in drawing.layers if isinstance(layer, Band)):
            assert all(low <= high for low, high in zip(band.lower, band.upper, strict=True))


def test_paper_and_screen_show_the_same(drawings):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    from matplotlib.figure import Figure

    from steep.present import plots

    ax = Figure().subplots()
    plots.draw(drawings[0], ax)
    labels = {text.get_text() for text in ax.get_legend().get_texts()}
    assert labels == {entry["name"] for entry in figures.legend(drawings[0])}
    assert ax.get_xlim() == pytest.approx((drawings[0].x.low, drawings[0].x.high))


def test_a_fit_plots_itself_on_given_axes(made_study):
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    ax = Figure().subplots()
    assert made_study.analysis.curves[0].fit.plot(ax) is ax
    assert ax.get_xscale() == ax.get_yscale() == "log"
