"""``taskctx inspect``: one task's snapshot, without its secrets.

==================  ==========================================================
command, report     options and exit codes; the output
search              finding the task by an id or a key
inspection          all data about the task, read once
view                the parts to show, and those that need ``--reveal``
==================  ==========================================================
"""
