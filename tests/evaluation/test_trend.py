"""The drawing of how good the models have been."""

from greenr_luigi import templating
from greenr_luigi.evaluation.trend import BARS, HEIGHT, MOST, WIDTH, trend
from greenr_luigi.run_history import Event
from greenr_luigi.text import percent


def model(accuracy, pictures=300, outcome="deployed", day=1):
    return Event(
        kind="run",
        name="DeployApp",
        outcome=outcome,
        seconds=9,
        summary={"accuracy": accuracy, "pictures": pictures},
        ended=f"2026-11-{day:02}T04:00:00+00:00",
    )


def test_fewer_than_two_models_are_no_trend():
    assert trend([]) is None and trend([model(0.9)]) is None


def test_where_the_models_stand():
    drawn = trend([model(0.75, 150), model(0.8, 200, "refused", 2), model(1.0, 300, day=3)])
    assert drawn is not None and (drawn.low, drawn.most) == (0.7, 300)
    assert [point.x for point in drawn.points] == [0, WIDTH / 2, WIDTH]
    assert [round(point.y, 6) for point in drawn.points] == [HEIGHT * 25 / 30, HEIGHT * 20 / 30, 0]
    assert [point.bar for point in drawn.points] == [BARS / 2, BARS * 2 / 3, BARS]
    assert drawn.line == "0.0,75.0 300.0,0.0"
    assert [point.released for point in drawn.points] == [True, False, True]


def test_the_newest_are_drawn_and_all_lie_in_the_drawing():
    drawn = trend([model(number / 99, number) for number in range(100)])
    assert drawn is not None and len(drawn.points) == MOST and drawn.points[-1].accuracy == 1
    assert all(0 <= p.x <= WIDTH and 0 <= p.y <= HEIGHT and 0 <= p.bar <= BARS for p in drawn.points)
    nothing = trend([model(0, 0), model(0, 0)])
    assert nothing is not None and nothing.low == 0 and [point.y for point in nothing.points] == [HEIGHT] * 2


def test_it_says_in_words_what_it_shows():
    template = templating.environment().get_template("_trend.html")
    page = template.render(trend=trend([model(0.9), model(0.951, 310, "refused", 2)]))
    assert f"<title>2026-11-02: accuracy {percent(0.951, 1)}, 310 pictures, not released</title>" in page
    assert "the last 2 models" in page and "A hollow circle is a model that was not released." in page
    assert "hollow" not in template.render(trend=trend([model(0.9), model(0.95)]))
