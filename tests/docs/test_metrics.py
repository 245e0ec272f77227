"""The reference page names every metric."""

from docs.metrics import STANDARD_METRICS, metrics_page
from mpsd.admin.metrics import METRICS


def test_every_metric_has_its_row() -> None:
    page = metrics_page()
    assert page.startswith("# Metrics\n")
    assert page.endswith("\n")
    for metric in METRICS:
        assert f"- **`{metric.name}`** ({metric.type}" in page
    for name in STANDARD_METRICS:
        assert f"- **`{name}`** (" in page
