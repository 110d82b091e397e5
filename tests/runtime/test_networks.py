"""Who is who in the networks of vassals, and how they are connected."""

import pytest

from emperor.runtime.networks.directory import ADDRESS, INTERFACE, Networks

A, B, C = (("/v", f"{name}.ini") for name in "abc")


def test_addresses_are_given_in_order_and_kept() -> None:
    networks = Networks("10.1.0.1/24")
    assert [networks.told(key)[ADDRESS] for key in (A, B, A)] == [
        "10.1.0.2/24",
        "10.1.0.3/24",
        "10.1.0.2/24",
    ]


def test_an_address_that_is_free_again_is_given_again_and_never_twice() -> None:
    networks = Networks("10.1.0.1/24")
    first = networks.told(A)[ADDRESS]
    second = networks.told(B)[ADDRESS]
    networks.forget(A)
    networks.forget(A)
    assert networks.told(C)[ADDRESS] == first
    networks.forget(B)
    assert networks.told(A)[ADDRESS] == second
    assert len({networks.told(key)[ADDRESS] for key in (A, C)}) == 2


def test_a_full_network_says_so_and_gives_nothing_away() -> None:
    networks = Networks("10.1.0.1/30")
    networks.told(A)
    for _ in range(2):
        with pytest.raises(ValueError, match=r"10\.1\.0\.1/30"):
            networks.told(B)
    networks.forget(B)
    networks.forget(A)
    assert networks.told(B)[ADDRESS] == "10.1.0.2/30"


def test_every_vassal_has_an_interface_of_its_own_that_the_kernel_takes() -> None:
    networks = Networks("br0")
    told = [networks.told(key) for key in (A, B, A)]
    assert told[0] == told[2] != told[1]
    assert all(len(one[INTERFACE]) <= 15 and ADDRESS not in one for one in told)


@pytest.mark.parametrize("text", ["10.1.0.1/32", "10.1.0.0/24", "nowhere/24"])
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Networks(text)


def test_the_hook_names_what_the_option_said_and_quotes_it() -> None:
    shell, c, script, label = Networks("br 0").hook
    assert (shell, c, label) == ("/bin/sh", "-c", "emperor-net-veth = br 0")
    assert "--bridge 'br 0'" in script
    assert f'--name "${INTERFACE}"' in script
