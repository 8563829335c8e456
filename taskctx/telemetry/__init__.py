"""Telemetry: operations are observed here, and become metrics, spans and log lines at the edge.

The only package that imports prometheus_client and OpenTelemetry's tracing API.
"""
