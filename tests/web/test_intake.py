"""What a worker holds is counted until it is answered, and who has gone longest without progress makes room."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request

from greenr_luigi.web import fetching, intake
from greenr_luigi.web.fetching import Fetcher
from greenr_luigi.web.intake import Intake, Share
from greenr_luigi.web.problem import Problem
from greenr_luigi.web.settings import Settings


def small(**more: Any) -> Intake:
    return Intake(Settings(Path("none"), held_bytes=1000, **more))


async def coming(ours: Intake, *, size: int, end: asyncio.Event) -> None:
    """An upload that brings so much and then stands still."""
    with ours.share() as share:
        async with share.coming(20):
            share.add(size)
            await end.wait()


def run(asked: Callable[[], Awaitable[None]]) -> None:
    async def in_time() -> None:
        async with asyncio.timeout(20):
            await asked()

    asyncio.run(in_time())


def test_who_stands_still_longest_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "HALTED", 0.05)

    async def crowd() -> None:
        ours, end = small(), asyncio.Event()
        first, second = (asyncio.create_task(coming(ours, size=400, end=end)) for _ in range(2))
        await asyncio.sleep(0.06)
        with ours.share() as third:
            third.add(300)
            assert ours.held == 700
            with pytest.raises(Problem) as refused:
                await first
            assert refused.value.status == 503 and "send it again" in refused.value.message
            third.add(2000)  # Alone it may be larger.
            with pytest.raises(Problem, match="send it again"):
                await second
            with pytest.raises(Problem, match="busy with other uploads"), ours.share() as fourth:
                fourth.add(1)
        assert ours.held == 0 and not ours.shares

    run(crowd)


def test_the_many_uploads_of_one_visitor_keep_no_other_out() -> None:
    """None of them stands still; but of whoever has most, the one that has gone longest without progress makes room."""

    async def crowd() -> None:
        ours = small()
        with (
            ours.share("a") as first,
            ours.share("a") as second,
            ours.share("b") as other,
            ours.share("c") as own,
            pytest.raises(Problem, match="others needed the room"),
        ):
            async with first.coming(20), second.coming(20), own.coming(20):
                for share, size in ((own, 200), (first, 400), (second, 400)):
                    share.add(size)
                with pytest.raises(Problem, match="busy with other uploads"):
                    second.add(100)
                with pytest.raises(Problem, match="busy with other uploads"):
                    ours.make_room(other, 900)
                ours.make_room(other, 300)
                assert [share.size for share in (first, second, own)] == [0, 500, 200]
                await asyncio.sleep(1)

    run(crowd)


@pytest.mark.parametrize(("steps", "goes"), [((100,) * 4, True), ((1,) * 4, False)], ids=["goes on", "drips"])
def test_who_goes_on_is_not_put_out(
    monkeypatch: pytest.MonkeyPatch, steps: tuple[int, ...], goes: bool
) -> None:
    """A byte now and then is no progress. What has come and is being answered keeps its room."""
    monkeypatch.setattr(intake, "HALTED", 0.2)
    monkeypatch.setattr(intake, "STEP", 100)

    async def crowd() -> None:
        ours = small()
        with ours.share() as answered, ours.share() as coming, ours.share() as newcomer:
            answered.add(200)
            async with coming.coming(20):
                for size in steps:
                    await asyncio.sleep(0.06)
                    coming.add(size)
                with pytest.raises(Problem) if goes else contextlib.nullcontext():
                    newcomer.add(800 if not goes else 600)
                assert answered.size == 200 and (coming.size == 0) is not goes
                await asyncio.sleep(0)

    with contextlib.nullcontext() if goes else pytest.raises(Problem, match="send it again"):
        run(crowd)


def test_a_fetched_picture_counts_until_it_is_answered() -> None:
    class Slow(Fetcher):
        async def fetch(self, address: str, arrived: Callable[[int], None] = lambda size: None) -> bytes:
            arrived(700)
            return b"x" * 700

    async def ask() -> None:
        ours = small()
        state = {"intake": ours, "fetcher": Slow(ours.settings)}
        scope = {"type": "http", "headers": [], "state": state, "client": ("192.0.2.1", 1)}
        async with intake.fetched(Request(scope), "http://x/"):
            assert ours.held == 700
            with pytest.raises(Problem) as busy:
                async with intake.fetched(Request(scope), "http://x/"):
                    pass
            assert busy.value.code == "busy" and ours.held == 700
        assert ours.held == 0

    run(ask)


def test_addresses_are_shared_among_visitors(monkeypatch: pytest.MonkeyPatch) -> None:
    """One who gives many keeps no other one out; and of a slow one the place is free later, since its name may still be
    looked up."""
    monkeypatch.setattr(fetching, "LOOKED_UP", 0.05)

    async def ask() -> None:
        fetcher = Fetcher(Settings(Path("none")))
        fill = [fetcher.place("a") for _ in range(fetching.PER_VISITOR)]
        for place in fill:
            place.__enter__()
        with pytest.raises(Problem), fetcher.place("a"):
            pass
        with fetcher.place("b"):
            pass
        slow = Problem(504, "address-slow", "slow")
        assert not fill[0].__exit__(Problem, slow, None)
        for place in fill[1:]:
            place.__exit__(None, None, None)
        await asyncio.sleep(0.01)
        assert fetcher.places == {"a": 1}
        await asyncio.sleep(0.1)
        assert not fetcher.places

    run(ask)


def test_a_share_that_has_ended_makes_no_room() -> None:
    async def ended() -> None:
        share = Share(small())
        with pytest.raises(TimeoutError):
            async with share.coming(0):
                await asyncio.sleep(1)
        share.give_way()
        assert not share.has_made_room

    run(ended)
