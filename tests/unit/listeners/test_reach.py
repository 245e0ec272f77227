"""Members that the others cannot reach, as their own words show."""

import pytest

from mpsd.listeners.reach import faults, reachable
from mpsd.ports import Peer


def peer(admin: str, host: str = "a", instance: str = "") -> Peer:
    return Peer(admin, f"{host}:7071", "", instance or f"{host}-{admin}", host, f"net-{host}")


@pytest.mark.parametrize(
    "members",
    [
        [],
        [peer("127.0.0.1:7070")],
        [peer("127.0.0.1:7070"), peer("127.0.0.1:7080")],
        [peer("localhost:7070"), peer("10.0.0.1:7070")],
        [peer("10.0.0.1:7070", "a"), peer("10.0.0.2:7070", "b"), peer("10.0.0.2:7071", "b")],
        [peer("127.0.0.1:7070"), Peer("127.0.0.1:7080", "", "", "i")],
    ],
)
def test_addresses_that_lead_to_one_daemon_each_are_right(members: list[Peer]) -> None:
    assert faults(members) == {}


@pytest.mark.parametrize("loopback", ["127.0.0.1:7070", "[::1]:7070", "localhost:7070", "127.9.9.9:7070"])
def test_loopback_is_wrong_as_soon_as_there_is_another_host(loopback: str) -> None:
    one, other, right = peer(loopback, "a"), peer(loopback, "b"), peer("10.0.0.3:7070", "c")
    found = faults([one, other, right])
    assert found.keys() == {one, other}
    assert found[one] == (
        f"daemon a-{loopback} on host a advertises {loopback} as its admin listener, which no other host reaches, and"
        " members run on b, c as well: set listen in [admin] there to an address of the host, or advertise to one that"
        " leads to it"
    )


@pytest.mark.parametrize(("address", "hosts"), [("mpsd:7070", "ab"), ("10.0.0.1:7070", "aa"), ("127.0.0.1:7070", "aa")])
def test_two_that_share_an_address_are_both_wrong_and_each_names_the_other(address: str, hosts: str) -> None:
    one, other = (peer(address, host, f"i{number}") for number, host in enumerate(hosts))
    found = faults([one, other, peer("10.0.0.9:7070", hosts[0])])
    assert found.keys() == {one, other}
    assert f"advertises {address} as its admin listener, and so does daemon i1 on host {hosts[1]}" in found[one]
    assert "set advertise in [admin] of each daemon" in found[one]


def test_one_without_an_address_is_named_by_what_it_says_of_itself() -> None:
    (said,) = faults([Peer("", "10.0.0.1:7071", "", "i", "a", "net-a")]).values()
    assert said.startswith("daemon i on host a (http 10.0.0.1:7071) advertises no address of its admin listener")
    assert "set advertise in [admin] there" in said


def test_each_listener_has_addresses_of_its_own() -> None:
    one, other = Peer("a:1", "lb:1", "", "i", "a", "a"), Peer("b:1", "lb:1", "", "j", "b", "b")
    assert faults([one, other]) == {}
    assert faults([one, other], "http").keys() == {one, other}


def test_of_many_hosts_some_are_named() -> None:
    one, *others = (peer("127.0.0.1:7070", f"host{number}") for number in range(9))
    assert "host1, host2, host3, host4, host5 and 3 more" in faults([one, *others])[one]


@pytest.mark.parametrize("address", ["", "nonsense", ":::", "[::1"])
def test_whatever_a_member_says_is_only_a_word(address: str) -> None:
    assert reachable(peer(address), address, "elsewhere") is bool(address)
    faults([peer(address), peer("127.0.0.1:7070", "b")])


def test_a_loopback_address_is_reached_from_its_own_host_only() -> None:
    assert reachable(peer("127.0.0.1:1"), "127.0.0.1:1", "net-a")
    assert not reachable(peer("127.0.0.1:1"), "127.0.0.1:1", "net-b")
    assert reachable(peer("10.0.0.1:1"), "10.0.0.1:1", "net-b")
