"""``taskctx doctor``: what keeps tasks from their callers' context, what that means, and what to do.

=============================  =================================================================
command, report, finding       options and exit code; what is shown; one thing that was found
examination                    from start to end
survey, stored                 what there is on the server, read once
backend, workers               checks of the server, and of the workers alive
snapshots, tasks, tracing      checks of what is stored
fleet, keyrings, unseen        checks of the processes by their metrics
=============================  =================================================================

Checks are functions of what was read; nothing is ever written.
"""
