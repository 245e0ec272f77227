"""Settings that daemons of a fleet do not have alike."""

from collections.abc import Iterable, Mapping, Sequence

from mps.admin.v1 import admin_pb2 as pb

SETTINGS_SHOWN_MAX = 10
UNSET = "not set"
Settings = Mapping[str, str]
ADVICE = "roll the same configuration out to every daemon; until then what happens to a record depends on who has it"


def drift(settings: Mapping[str, Settings]) -> list[pb.Finding]:
    """Find the settings that differ, the values of each daemon named.

    Settings of a subscription are compared among the daemons that run it.

    Args:
        settings: of each daemon, by its address.
    """
    paths = sorted({path for each in settings.values() for path in each})
    texts = [text for path in paths if (text := _difference(path, _having(path, settings)))]
    if not texts:
        return []
    code = "fleet.config_drift"
    more = f"; and {len(texts) - SETTINGS_SHOWN_MAX} more" if len(texts) > SETTINGS_SHOWN_MAX else ""
    return [
        pb.Finding(
            severity=pb.SEVERITY_WARNING,
            code=code,
            subject="fleet",
            message=f"daemons are configured differently: {'; '.join(texts[:SETTINGS_SHOWN_MAX])}{more}",
            advice=ADVICE,
            instances=sorted(settings),
        )
    ]


def _having(path: str, settings: Mapping[str, Settings]) -> Mapping[str, str]:
    """Return the value of a setting at each daemon that has the table it is of."""
    table, subscription, *_ = [*path.split("."), ""]
    name = f"subscriptions.{subscription}.name"
    return {
        address: each.get(path, UNSET) for address, each in settings.items() if table != "subscriptions" or name in each
    }


def _difference(path: str, values: Mapping[str, str]) -> str:
    """Say who has which value; empty if all have the same."""
    by_value: dict[str, list[str]] = {}
    for address, value in sorted(values.items()):
        by_value.setdefault(value, []).append(address)
    if len(by_value) < 2:
        return ""
    said = " and ".join(f"{value} at {', '.join(addresses)}" for value, addresses in by_value.items())
    return f"{path} is {said}"


def group_findings(findings: Iterable[pb.Finding]) -> Sequence[pb.Finding]:
    """Say once what several daemons found alike, and name them."""
    grouped: dict[tuple[int, str, str, str, str], pb.Finding] = {}
    for each in findings:
        key = (each.severity, each.code, each.subject, each.message, each.advice)
        if key not in grouped:
            grouped[key] = pb.Finding()
            grouped[key].CopyFrom(each)
        else:
            known = grouped[key].instances
            known.extend(address for address in each.instances if address not in known)
            known.sort()
    return list(grouped.values())
