"""Visitors take turns: whatever one of them sends, another one's picture is next."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenr_luigi.web.layers import client
from greenr_luigi.web.problem import Problem
from greenr_luigi.web.turns import IN_A_ROW, Turns


class Gate:
    """Work that waits to be let go on, one at a time, and notes whose it was."""

    def __init__(self, turns: Turns) -> None:
        self.turns, self.done, self.go_on = turns, list[str](), threading.Semaphore(0)

    def ask(self, visitor: str, count: int = 1) -> list[Future[Any]]:
        self.turns.make_room(visitor, count)
        return [self.turns.submit(visitor, lambda: self.work(visitor)) for _ in range(count)]

    def work(self, visitor: str) -> None:
        assert self.go_on.acquire(timeout=30)
        self.done.append(visitor)

    def open(self) -> str:
        self.go_on.release(1_000)
        self.turns.pool.shutdown()
        return "".join(self.done)


def test_a_single_picture_is_next_whatever_a_batch_has_before_it() -> None:
    gate = Gate(Turns(1, 40))
    for _ in range(3):  # As from several connections.
        gate.ask("a", 8)
    gate.ask("b")
    gate.ask("c", 2)
    gate.ask("d")
    assert gate.open() == "abcdac" + "a" * 22


def test_with_several_threads_one_visitor_may_have_all_while_nobody_else_asks() -> None:
    turns = Turns(2, 40)
    both = threading.Barrier(2)
    held = [turns.submit("a", lambda: both.wait(30)) for _ in range(2)]
    for one in held:
        one.result(30)
    turns.pool.shutdown()


def test_who_has_most_makes_room_for_who_has_less() -> None:
    gate = Gate(Turns(1, 5))
    first = gate.ask("a", 6)
    for visitor in "bc":
        gate.ask(visitor)
    with pytest.raises(Problem, match="busy with other pictures"):
        gate.ask("a")
    with pytest.raises(Problem, match="busy with other pictures"):
        gate.ask("d", 3)
    assert gate.open() == "abcaaa"
    assert [one.exception() is None for one in first] == [True] * 4 + [False] * 2
    refused = first[-1].exception()
    assert isinstance(refused, Problem) and refused.headers == {"Retry-After": "1"}


def test_what_is_given_up_is_not_done_and_what_fails_is_told() -> None:
    gate = Gate(Turns(1, 5))
    first, second, third = gate.ask("a", 3)
    assert second.cancel()
    failing = gate.turns.submit("b", lambda: [][1])
    assert gate.open() == "aa"
    assert first.done() and third.done() and isinstance(failing.exception(), IndexError)
    assert (
        not gate.turns.pending and not gate.turns.begun and not gate.turns.waiting and not gate.turns.in_hand
    )


def test_a_thread_goes_on_while_pictures_wait_and_lets_other_work_have_its_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gate, asked = Gate(Turns(1, 40)), list[object]()
    submit = gate.turns.pool.submit
    monkeypatch.setattr(gate.turns.pool, "submit", lambda work: asked.append(work) or submit(work))
    pictures = gate.ask("a", 2 * IN_A_ROW)
    gate.turns.pool.submit(lambda: gate.done.append("memory"))
    gate.go_on.release(1_000)
    for one in pictures:
        one.result(30)
    assert gate.done == ["a"] * IN_A_ROW + ["memory"] + ["a"] * IN_A_ROW
    # At first and after each so many, and not for each picture; and what was asked here.
    assert 3 <= len(asked) <= 4
    gate.ask("b")[0].result(30)
    assert gate.open().endswith("b")


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 6)), max_size=12), st.integers(1, 3))
@settings(max_examples=50, deadline=None)
def test_nothing_is_lost_and_nobody_waits_for_more_than_one_of_each_other(
    asked: list[tuple[str, int]], threads: int
) -> None:
    gate = Gate(Turns(threads, 10))
    results = list[Future[Any]]()
    for visitor, count in asked:
        try:
            results += gate.ask(visitor, count)
        except Problem:
            assert gate.turns.pending + count > 10
    assert gate.turns.pending <= max(10 + threads, *(count for _, count in asked), 0)
    done = gate.open()
    assert len(done) == sum(one.exception() is None for one in results)
    if threads == 1:
        for visitor in set(done):
            between = "".join(done).strip(visitor).split(visitor)
            assert all(len(set(others)) == len(others) for others in between[:-1])


@pytest.mark.parametrize(
    ("address", "who"),
    [("192.0.2.7", "192.0.2.7"), ("::ffff:192.0.2.7", "192.0.2.7"), ("2001:db8::1:2:3:4", "2001:db8::/64"),
     ("fe80::1%eth0", "fe80::/64"), ("no address", "-")],
)  # fmt: skip
def test_who_a_client_is(address: str, who: str) -> None:
    assert client({"client": (address, 1)}) == who
