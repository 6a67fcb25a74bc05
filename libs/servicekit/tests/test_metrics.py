"""A table of collectors: registered once, typed, and exported from the start where an alert needs it."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from servicekit.metrics import MetricTable, counter, gauge, histogram


class Metrics(MetricTable):
    """Every kind of collector, with no label, one and two."""

    calls = counter("calls_total", "Calls.")
    ends = counter("ends_total", "Ends.", "outcome", present=("ok", "error"))
    probes = counter("probes_total", "Probes.", "target", "outcome", present=(("a", "ok"), ("b", "failed")))
    depth = gauge("depth", "Depth.", "queue", present=("main",))
    seconds = histogram("seconds", "Seconds.", "target", buckets=(0.1, 1.0), present=("a",))


def test_each_collector_is_an_attribute_and_is_exported() -> None:
    """What is counted through the attribute is read from the registry."""
    registry = CollectorRegistry()
    metrics = Metrics(registry)

    metrics.calls.inc()
    metrics.ends.labels("ok").inc(2)
    metrics.depth.labels("main").set(7)
    metrics.seconds.labels("a").observe(0.5)

    assert 1 == registry.get_sample_value("calls_total")
    assert 2 == registry.get_sample_value("ends_total", {"outcome": "ok"})
    assert 7 == registry.get_sample_value("depth", {"queue": "main"})
    assert 0 == registry.get_sample_value("seconds_bucket", {"target": "a", "le": "0.1"})
    assert 1 == registry.get_sample_value("seconds_bucket", {"target": "a", "le": "1.0"})


def test_present_label_values_are_exported_at_zero_and_no_others() -> None:
    """An alert on an increase sees the first event; values that are not declared appear when they are counted."""
    registry = CollectorRegistry()
    Metrics(registry)

    assert 0 == registry.get_sample_value("ends_total", {"outcome": "error"})
    assert 0 == registry.get_sample_value("probes_total", {"target": "b", "outcome": "failed"})
    assert 0 == registry.get_sample_value("depth", {"queue": "main"})
    assert 0 == registry.get_sample_value("seconds_count", {"target": "a"})
    assert registry.get_sample_value("probes_total", {"target": "a", "outcome": "failed"}) is None


def test_two_tables_of_one_class_count_apart() -> None:
    """Each registry has its own collectors: nothing is shared through the class."""
    first, second = CollectorRegistry(), CollectorRegistry()
    Metrics(first).calls.inc()
    Metrics(second)

    assert 1 == first.get_sample_value("calls_total")
    assert 0 == second.get_sample_value("calls_total")


def test_help_and_type_are_exported() -> None:
    """What a person reads in Prometheus is what the table says."""
    registry = CollectorRegistry()
    Metrics(registry)
    text = generate_latest(registry).decode()

    assert "# HELP ends_total Ends.\n# TYPE ends_total counter\n" in text
    assert "# TYPE depth gauge\n" in text
    assert "# TYPE seconds histogram\n" in text


def test_the_class_itself_has_no_collectors() -> None:
    """A collector that no registry knows must not be counted in silently."""
    with pytest.raises(AttributeError, match="instance of Metrics"):
        Metrics.calls  # noqa: B018


def test_a_registry_takes_a_table_once() -> None:
    """Two tables on one registry would count one fact twice."""
    registry = CollectorRegistry()
    Metrics(registry)

    with pytest.raises(ValueError, match="Duplicated"):
        Metrics(registry)
