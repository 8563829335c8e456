"""What taskctx costs: ``make bench``.

Every variant lives in a process of its own (``child.py``), because OpenTelemetry's tracer provider and taskctx's
settings are the process's.  The parent (``campaign.py``) has them run one after another, in another order each round,
and compares each with its baseline of the same round: what disturbs the machine for a while disturbs both.
"""
