"""Traces, metrics and logs as a collector, Prometheus and a log's reader see them."""
