"""``taskctx top``: restores, failures, age and headroom by process, live in a terminal.

==================  =================================================================
command             options; one frame, or one after the other
source              readings: now, and some time ago
rates               what happened between two readings
frame               how that is shown
==================  =================================================================
"""
