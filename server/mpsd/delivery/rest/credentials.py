"""What a refused request comes to where its credentials have been replaced since it was written.

Such a refusal says nothing about the record and nothing about the endpoint: it costs no attempt and does not count towards
an outage, and the record is sent once more with the new credentials.
"""

from mpsd.core.outcome import Withdrawn

REFUSALS = frozenset({401, 403, 407})
"""Statuses by which an application, or a gateway before it, may refuse credentials."""
SENT_WITH_OLD_CREDENTIALS = Withdrawn(reason="refused with credentials that have been replaced since")
