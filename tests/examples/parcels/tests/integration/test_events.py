"""What other services hear: every move, in order, once, and also of the time when the broker was away."""

from __future__ import annotations

from collections.abc import Callable


def test_every_move_is_announced(scan: Callable[..., int], announced: Callable[[int], list[str]]) -> None:
    assert [scan("in_transit"), scan("delivered")] == [201, 201]
    assert announced(2) == ["in_transit", "delivered"]


def test_what_is_refused_is_not_announced(scan: Callable[..., int], announced: Callable[[int], list[str]]) -> None:
    assert [scan("delivered"), scan("in_transit")] == [201, 409]
    assert announced(1) == ["delivered"]


def test_events_wait_for_the_broker(
    scan: Callable[..., int], announced: Callable[[int], list[str]], broker: Callable[[str], None]
) -> None:
    broker("kill")
    assert [scan("in_transit"), scan("out_for_delivery"), scan("delivered")] == [201] * 3
    broker("start")
    assert announced(3) == ["in_transit", "out_for_delivery", "delivered"]
