"""Taking an address: at once, or with an error that names it."""

import socket
import threading

import pytest

from mpsd.errors import AddressInUse, AddressUnusable
from mpsd.listeners import address
from mpsd.listeners.address import address_of, advertised, bind, own_address


def test_port_zero_becomes_a_real_one() -> None:
    with bind("http", "127.0.0.1:0") as listener:
        host, _, port = address_of(listener).rpartition(":")
        assert host == "127.0.0.1"
        assert int(port) > 0


def test_whoever_comes_while_we_start_waits_in_the_backlog() -> None:
    with bind("http", "127.0.0.1:0") as listener, socket.create_connection(listener.getsockname()):
        pass


def test_a_port_in_use_names_listener_address_and_remedy() -> None:
    with bind("http", "127.0.0.1:0") as listener:
        address = address_of(listener)
        with pytest.raises(AddressInUse) as caught:
            bind("http", address)
    assert str(caught.value).startswith(f"http listener {address}: address already in use; ")
    assert "listen in [http]" in str(caught.value)


def test_an_address_of_another_machine_is_unusable() -> None:
    with pytest.raises(AddressUnusable, match=r"^admin listener 192\.0\.2\.1:7070: "):
        bind("admin", "192.0.2.1:7070")


def test_a_name_that_nobody_knows_is_unusable() -> None:
    with pytest.raises(AddressUnusable, match=r"^http listener no\.such\.host\.invalid:80: "):
        bind("http", "no.such.host.invalid:80")


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_ipv6_and_its_brackets() -> None:
    try:
        listener = bind("http", "[::1]:0")
    except AddressUnusable:
        pytest.skip("no IPv6 loopback here")
    with listener:
        assert address_of(listener).startswith("[::1]:")


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_the_ipv6_wildcard_takes_ipv4_as_well() -> None:
    try:
        listener = bind("http", "[::]:0")
    except AddressUnusable:
        pytest.skip("no IPv6 here")
    with listener, socket.create_connection(("127.0.0.1", listener.getsockname()[1])):
        pass


def test_what_is_configured_is_advertised() -> None:
    with bind("http", "0.0.0.0:0") as listener:
        assert advertised("pod:7071", listener, []) == "pod:7071"


def test_where_it_listens_is_advertised() -> None:
    with bind("http", "127.0.0.1:0") as listener:
        assert advertised("", listener, ["192.0.2.1:9092"]) == address_of(listener)


def test_one_that_listens_everywhere_advertises_the_address_that_leads_to_the_brokers() -> None:
    with bind("http", "0.0.0.0:0") as listener:
        port = listener.getsockname()[1]
        assert advertised("", listener, ["no.such.host.invalid:9092", "127.0.0.7:9092"]) == f"127.0.0.1:{port}"


def test_a_name_server_that_is_silent_does_not_hold_up_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    monkeypatch.setattr(address, "LOOK_UP_S_MAX", 0.01)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: [released.wait(20)][1:])
    monkeypatch.setattr(address, "OUTSIDE", {socket.AF_INET: ("127.0.0.1", 9)})
    try:
        assert own_address(["kafka:9092"], (socket.AF_INET,)) == "127.0.0.1"
    finally:
        released.set()


def test_a_host_without_a_way_out_says_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address, "OUTSIDE", {})
    with bind("http", "0.0.0.0:0") as listener:
        assert advertised("", listener, []) == ""
