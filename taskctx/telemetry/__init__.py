"""Telemetry: observers turn operations into metrics, spans and log lines.

Only this package imports prometheus_client and OpenTelemetry's tracing API.
"""
