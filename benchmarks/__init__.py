"""What taskctx costs: ``make bench``.

Tasks run in child processes (``child.py``): one for each way to trace them, one for FastMCP, and one more of each for
another revision of taskctx.  Within a child, tasks with context and tasks without it run in turn, on one core; the
parent (``campaign.py``) says whose turn it is, and compares what ran in the same round.

A child imports taskctx's public names only, so that it runs with any revision of it.
"""
