"""``taskctx inspect``: one task's snapshot, without its secrets.

==================  ==========================================================
command, report     options and exit codes; what is shown
search              from what was given to the task that is meant
inspection          everything that is known of it, read once
view                what may be shown of it, and what only with ``--reveal``
==================  ==========================================================
"""
