"""Dashboards, recording rules and alerts, built in Python from ``taskctx.telemetry.names``.

``python -m dashboards`` (``make dashboards``) writes what is committed in ``grafana/`` and ``prometheus/``.
"""
