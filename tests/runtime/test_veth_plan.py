"""Names and addresses for vassals with a network of their own."""

import pytest

from emperor.runtime.networks.veth_plan import (
    LONGEST_NAME_BYTES,
    address_for,
    interface_name,
)


@pytest.mark.parametrize(
    ("network", "addresses"),
    [
        ("10.7.0.1/29", "2 3 4 5 6"),
        ("10.7.0.4/29", "1 2 3 5 6"),
        ("10.7.0.6/29", "1 2 3 4 5"),
        ("10.7.0.1/30", "2"),
    ],
)
def test_all_but_gateway_network_and_broadcast_are_given(network: str, addresses: str) -> None:
    prefix = network.rpartition("/")[2]
    wanted = [f"10.7.0.{number}/{prefix}" for number in addresses.split()]
    assert [address_for(network, index) for index in range(len(wanted))] == wanted
    with pytest.raises(ValueError, match=f"for {len(wanted)} vassals"):
        address_for(network, len(wanted))
    with pytest.raises(ValueError, match="no more"):
        address_for(network, -1)


def test_other_networks_count_as_well() -> None:
    assert address_for("10.7.0.1/16", 1000) == "10.7.3.234/16"
    assert address_for("fd00:7::1/64", 0) == "fd00:7::2/64"


@pytest.mark.parametrize("network", ["10.7.0.0/24", "10.7.0.255/24", "10.7.0.1", "10.7.0.1/31"])
def test_a_network_without_room_for_the_gateway_is_refused(network: str) -> None:
    with pytest.raises(ValueError, match="no address of a host"):
        address_for(network, 0)


def test_a_text_that_is_no_address_is_refused() -> None:
    with pytest.raises(ValueError, match="br0"):
        address_for("br0", 0)


def test_names_are_stable_short_and_different() -> None:
    names = {interface_name(f"{number}.ini") for number in range(1000)}
    assert len(names) == 1000
    assert all(len(name) <= LONGEST_NAME_BYTES and name.isalnum() for name in names)
    assert interface_name("app.ini") == "emp3f4c191e33ee"
    assert interface_name("\udcff/very long name" * 20)
