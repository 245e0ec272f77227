"""A look at the topics and groups of a configuration, and at the rights on them, that changes nothing."""

from collections.abc import Mapping, Sequence

from mpsd.admin.daemon import Finding, fine, problem, warning
from mpsd.config import Config, Subscription
from mpsd.errors import MpsError
from mpsd.kafka.cluster import Cluster
from mpsd.kafka.dead_letters import weaknesses_of
from mpsd.kafka.internal_topics import InternalTopic, audit_topic, control_topic
from mpsd.kafka.topic_look import TopicLook

NOT_VISIBLE = "is not visible to this user"
NOT_SHOWN = "the settings of topic {} are not visible to this user"
WITHOUT_READ = "mpsctl dlq and replays cannot read it"
WITHOUT_WRITE = "no dead letter can be written"


async def topic_findings(cluster: Cluster, config: Config) -> list[Finding]:
    """Look at every topic and group of the configuration; one that is forbidden does not hide the others.

    Raises:
        KafkaUnavailable: the broker does not answer.
    """
    control = config.control
    own = [control_topic(control)] if control.topic else []
    own += [audit_topic(control)] if control.topic and control.audit_topic else []
    names = {topic for each in config.subscriptions for topic in (*each.topics, each.dead_letter.topic)}
    looks = await cluster.look(sorted(names | {topic.name for topic in own}))
    findings = []
    for subscription in config.subscriptions:
        findings += [_source(subscription.name, looks[topic]) for topic in subscription.topics]
        findings.append(await _group(cluster, subscription))
        findings += await _dead_letters(cluster, subscription, looks)
    for topic in own:
        findings += await _own_topic(cluster, topic, looks[topic.name])
    return findings


def _refused(about: str, text: str, right: str, *, works: bool = False) -> Finding:
    """Return a finding of a right that is missing, such as `Read on topic orders`."""
    return Finding(ok=False, about=about, text=text, code="kafka.refused", advice=f"grant {right}", works=works)


def _source(about: str, look: TopicLook) -> Finding:
    name = look.name
    if not look.is_visible:
        text = f"topic {name} {NOT_VISIBLE}: TopicAuthorizationFailed, nothing can be read"
        return _refused(about, text, f"Read on topic {name}")
    if not look.exists:
        text = f"topic {name} is missing: the subscription would wait until somebody creates it"
        return problem(about, text, advice=f"create topic {name}")
    if _lacks(look, "Read"):
        text = f"topic {name} may not be read by this user: TopicAuthorizationFailed"
        return _refused(about, text, f"Read on topic {name}")
    return fine(about, f"reads topic {name}: {look.partitions} partition(s)")


def _lacks(look: TopicLook, right: str) -> bool:
    return look.rights is not None and right not in look.rights


async def _group(cluster: Cluster, subscription: Subscription) -> Finding:
    about, group = subscription.name, subscription.group
    try:
        rights = await cluster.group_rights(group)
    except MpsError as error:
        return problem(about, f"group {group}: {error}", code=error.code, advice=f"grant Read on group {group}")
    if rights is None:
        text = f"the rights on group {group} are not visible: the broker is too old to say"
        return warning(about, text)
    if "Read" not in rights:
        text = f"group {group} may not be joined by this user: GroupAuthorizationFailed"
        return _refused(about, text, f"Read on group {group}")
    return fine(about, f"may join group {group}")


async def _dead_letters(
    cluster: Cluster, subscription: Subscription, looks: Mapping[str, TopicLook]
) -> Sequence[Finding]:
    about, name = subscription.name, subscription.dead_letter.topic
    look = looks[name]
    if not look.is_visible:
        text = f"dead-letter topic {name} {NOT_VISIBLE}: TopicAuthorizationFailed, {WITHOUT_WRITE}"
        return [_refused(about, text, f"Read and Write, and Create unless it exists, on topic {name}")]
    if not look.exists:
        try:
            await cluster.try_to_create(subscription, looks)
        except MpsError as error:
            text, advice = f"dead-letter topic {name}: {error}", f"grant Create on topic {name}, or create it"
            return [problem(about, text, code=error.code, advice=advice)]
        return [fine(about, f"would create dead-letter topic {name}")]
    findings = []
    for right, effect in (("Write", WITHOUT_WRITE), ("Read", WITHOUT_READ)):
        if _lacks(look, right):
            text = f"dead-letter topic {name}: this user lacks {right}, {effect}"
            findings.append(_refused(about, text, f"{right} on topic {name}", works=right == "Read"))
    for hidden in [topic for topic in (name, *subscription.topics) if _is_hidden(looks[topic])]:
        text = f"{NOT_SHOWN.format(hidden)}, so dead-letter topic {name} cannot be judged"
        findings.append(_refused(about, text, f"DescribeConfigs on topic {hidden}", works=True))
    weak = weaknesses_of(subscription, looks, cluster.brokers)
    if unsafe := [each.text for each in weak if each.loses]:
        text = f"dead-letter topic {name} would lose dead letters, so nothing is written to it: {'; '.join(unsafe)}"
        advice = f"alter topic {name}, or name another in dead_letter.topic"
        findings.append(problem(about, text, code="dead_letter.topic_unsafe", advice=advice))
    if poor := [each.text for each in weak if not each.loses]:
        text = f"dead-letter topic {name} is weak: {'; '.join(poor)}"
        advice = f"alter topic {name}, or set dead_letter to match"
        findings.append(warning(about, text, code="dead_letter.topic_weak", advice=advice))
    return findings or [fine(about, f"dead-letter topic {name} is as configured")]


def _is_hidden(look: TopicLook) -> bool:
    return look.exists and look.configs is None


async def _own_topic(cluster: Cluster, topic: InternalTopic, look: TopicLook) -> Sequence[Finding]:
    what = f"{topic.purpose} topic {topic.name}"
    if not look.is_visible:
        text = f"{what} {NOT_VISIBLE}: TopicAuthorizationFailed"
        return [_refused("control", text, f"Read, Write and Create on topic {topic.name}")]
    try:
        weak = await cluster.weaknesses(topic)
    except MpsError as error:
        return [problem("control", f"{what}: {error}", code=error.code)]
    if weak is None:
        return [await _own_creation(cluster, topic, what)]
    findings = [
        _refused("control", f"{what}: this user lacks {right}", f"{right} on topic {topic.name}")
        for right in ("Read", "Write")
        if _lacks(look, right)
    ]
    if look.configs is None:
        text = f"{NOT_SHOWN.format(topic.name)}: whether the {topic.purpose} topic is sound is not known"
        findings.append(_refused("control", text, f"DescribeConfigs on topic {topic.name}", works=True))
    elif weak:
        text = f"{what} is weaker than it should be: {', '.join(weak)}; alter it"
        findings.append(warning("control", text, advice=f"alter topic {topic.name}"))
    return findings or [fine("control", f"{what} is as it should be")]


async def _own_creation(cluster: Cluster, topic: InternalTopic, what: str) -> Finding:
    try:
        await cluster.try_to_make(topic)
    except MpsError as error:
        advice = f"grant Create on topic {topic.name}, or create it"
        return problem("control", f"{what}: {error}", code=error.code, advice=advice)
    return fine("control", f"would create {what}")
