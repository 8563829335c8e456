"""``taskctx top``: restores, failures, age and headroom by process, live in a terminal.

==================  =================================================================
command             options; one frame, or one frame after another
source              readings: now, and some time ago
rates               the changes between two readings
frame               the layout of a frame
==================  =================================================================
"""
