"""When a message is due, of every order of outcomes, days and clocks."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenr_luigi.operations.notices import AGAIN, Found, Known, notice

DAY = 24 * 3600


class Listener:
    """An address, and what is known for it."""

    def __init__(self):
        self.known = {}
        self.heard = []

    def after(self, found, now, well=False, hears=True):
        due = notice(self.known, found, well, now)
        if hears:
            self.heard += [("on", fault) for fault in due.going_on] + [
                ("mended", fault) for fault in due.mended
            ]
        self.known = due.told if hears else due.untold
        return sorted(due.going_on), sorted(due.mended)


def wrong(*faults, patient=False):
    return {fault: Found(f"{fault} is wrong", patient) for fault in faults}


def test_a_month_of_one_fault():
    listener = Listener()
    heard = {day: listener.after(wrong("a"), day * DAY) for day in range(30)}
    assert {day: words for day, words in heard.items() if words != ([], [])} == {
        day: (["a"], []) for day in (0, 7, 14, 21, 28)
    }
    assert listener.after({}, 30 * DAY, well=True) == ([], ["a"])
    assert [listener.after({}, day * DAY, well=True) for day in (31, 32)] == [([], [])] * 2
    assert listener.after(wrong("a"), 33 * DAY) == (["a"], []), "it comes back"


def test_another_fault_is_told_and_the_first_is_mended_only_by_a_run_that_comes_to_its_end():
    listener = Listener()
    days = [wrong("a"), wrong("b"), wrong("a", "b"), wrong("c"), wrong("a")]
    heard = [listener.after(found, day * DAY) for day, found in enumerate(days)]
    assert heard == [(["a"], []), (["b"], []), ([], []), (["c"], []), ([], [])]
    assert listener.after({}, 5 * DAY, well=True) == ([], ["a", "b", "c"])


@pytest.mark.parametrize("jump", [-400 * DAY, -DAY, -3600, 3600])
def test_a_clock_that_is_set_neither_silences_nor_repeats(jump):
    listener = Listener()
    before = [listener.after(wrong("a"), day * DAY) for day in range(3)]
    after = [listener.after(wrong("a"), day * DAY + jump) for day in range(3, 12)]
    told = [day for day, words in enumerate([*before, *after]) if words[0]]
    assert told[0] == 0 and told[1] in (7, 8) and len(told) == 2


def test_what_could_not_be_told_is_told_next_time():
    listener = Listener()
    listener.after(wrong("a"), 0, hears=False)
    assert listener.after(wrong("a"), DAY) == (["a"], [])
    listener.after({}, 2 * DAY, well=True, hears=False)
    assert listener.after({}, 3 * DAY, well=True) == ([], ["a"])
    listener.after(wrong("b"), 4 * DAY, hears=False)
    assert listener.after({}, 5 * DAY, well=True) == ([], ["b"]), "it was there, and nobody heard of it"
    assert not listener.known


def test_a_warning_is_told_once_it_has_lasted():
    listener, warned = Listener(), wrong("w", patient=True)
    heard = [listener.after(warned, day * DAY, well=True) for day in range(16)]
    assert [day for day, words in enumerate(heard) if words[0]] == [7, 14]
    assert listener.after({}, 16 * DAY, well=True) == ([], ["w"])
    listener.after(warned, 17 * DAY, well=True)
    assert listener.after({}, 18 * DAY, well=True) == ([], []), (
        "who did not hear of it need not hear of its end"
    )


RUNS = st.lists(
    st.tuples(
        st.one_of(st.none(), st.sets(st.sampled_from("abc"), min_size=1)),
        st.one_of(st.just(1.0), st.floats(-500, 3), st.floats(0, 40)),
        st.booleans(),
    ),
    max_size=40,
)


@given(RUNS)
def test_each_fault_once_a_week_at_most_and_once_when_mended(runs):
    """None: a good run; the second: days by the clock since the run before; the third: whether the address hears."""
    listener, now, forward = Listener(), 0.0, 0.0
    told_at: dict[str, float] = {}
    wrong_since_good: set[str] = set()
    for faults, days, hears in runs:
        now += days * DAY
        forward += max(0.0, days * DAY)
        on, mended = listener.after(wrong(*(faults or ())), now, well=faults is None, hears=hears)
        if faults is None:
            assert not on
            # All that was wrong since the last end that was heard, and nothing twice.
            assert set(mended) == wrong_since_good
            if hears:
                wrong_since_good, told_at = set(), {}
        else:
            assert not mended
            wrong_since_good |= faults
            # One that is known and was told is silent for a week of the clock's steps forward; any other is not.
            silent = {f for f in faults if f in told_at and forward - told_at[f] < AGAIN - 1}
            loud = {f for f in faults if f not in told_at or forward - told_at[f] > AGAIN + 1}
            assert loud <= set(on) <= faults - silent
            if hears:
                told_at |= dict.fromkeys(on, forward)


@given(st.lists(st.sampled_from(["good", "a", "b"]), max_size=60))
def test_daily_runs_give_as_many_messages_as_there_were_spells(days):
    """A spell: days of the same fault between two good ones."""
    listener, lasting, expected = Listener(), {}, Counter()
    for day, outcome in enumerate(days):
        if outcome == "good":
            expected.update(("mended", fault) for fault in lasting)
            lasting.clear()
        elif day - lasting.setdefault(outcome, day - 7) >= 7:
            expected[("on", outcome)] += 1
            lasting[outcome] = day
        listener.after(wrong(outcome) if outcome != "good" else {}, day * DAY, well=outcome == "good")
    assert Counter(listener.heard) == expected


def test_known_faults_age_only_forward():
    known = Known("words", clock=10 * DAY, lasted=DAY, quiet=DAY)
    assert known.until(11 * DAY) == Known("words", 11 * DAY, lasted=2 * DAY, quiet=2 * DAY)
    assert known.until(3 * DAY) == Known("words", 3 * DAY, lasted=DAY, quiet=DAY)
