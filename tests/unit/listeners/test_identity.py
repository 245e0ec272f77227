"""The identity of a process."""

from pathlib import Path

from mpsd.listeners.identity import BOOT_ID, NETWORK_NAMESPACE, network_of, new_identity


def test_two_processes_of_one_host_differ_in_their_ids_alone() -> None:
    one, other = new_identity(), new_identity()
    assert one.instance != other.instance
    assert one[1:] == other[1:]
    assert all(one)


def test_containers_of_one_machine_have_networks_of_their_own(tmp_path: Path) -> None:
    boot_id = tmp_path / "boot_id"
    boot_id.write_text("4d3f\n")
    one, other = tmp_path / "one", tmp_path / "other"
    one.symlink_to("net:[4026531840]")
    other.symlink_to("net:[4026532999]")
    assert network_of(boot_id, one) == network_of(boot_id, one)
    assert network_of(boot_id, one) != network_of(boot_id, other)
    another = tmp_path / "another"
    another.write_text("77aa\n")
    assert network_of(boot_id, one) != network_of(another, one)


def test_without_these_files_a_host_is_known_by_its_name_and_hardware(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    assert network_of(missing, NETWORK_NAMESPACE) == network_of(BOOT_ID, missing)
