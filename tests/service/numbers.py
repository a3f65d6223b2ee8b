"""The numbers in what Prometheus reads, for the tests."""

from prometheus_client.parser import text_string_to_metric_families


def values_of(text):
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
