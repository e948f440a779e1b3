"""The parts of a stack that need no engine."""

from __future__ import annotations

import pytest

from infra.stack import addresses, subnets


def test_each_component_has_an_address_of_the_networks_subnet() -> None:
    assert addresses("10.89.7.0/24", ["postgres", "redis"]) == {"postgres": "10.89.7.100", "redis": "10.89.7.101"}
    assert addresses("fd00:1::/64", ["redis"]) == {"redis": "fd00:1::64"}


@pytest.mark.parametrize("subnet", ["10.89.7.0/28", "10.89.7.0/25"])
def test_a_subnet_that_is_too_small_leaves_it_to_the_engine(subnet: str) -> None:
    names = [f"component-{number}" for number in range(27)]
    assert addresses(subnet, names) == {}


def test_a_run_has_subnets_of_its_own_to_try() -> None:
    tried = list(subnets(("10.89.0.0/16", 24), "1884d074"))
    assert tried[0] == "10.89.116.0/24"  # 0x74
    assert len(set(tried)) == 5
    assert set(tried).isdisjoint(subnets(("10.89.0.0/16", 24), "1884d075"))
    assert next(iter(subnets(("10.0.0.0/24", 28), "1884d074"))) == "10.0.0.64/28"
    assert list(subnets(None, "1884d074")) == []
