"""The parts of a stack that need no engine."""

from __future__ import annotations

import pytest

from infra.stack import addresses


def test_each_component_has_an_address_of_the_networks_subnet() -> None:
    assert addresses("10.89.7.0/24", ["postgres", "redis"]) == {"postgres": "10.89.7.100", "redis": "10.89.7.101"}
    assert addresses("fd00:1::/64", ["redis"]) == {"redis": "fd00:1::64"}


@pytest.mark.parametrize("subnet", ["10.89.7.0/28", "10.89.7.0/25"])
def test_a_subnet_that_is_too_small_leaves_it_to_the_engine(subnet: str) -> None:
    names = [f"component-{number}" for number in range(27)]
    assert addresses(subnet, names) == {}
