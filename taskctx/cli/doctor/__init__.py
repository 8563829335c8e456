"""``taskctx doctor``: finds the causes of lost contexts, with their meaning and their remedy.

=============================  =================================================================
command, report, finding       options and exit code; the output; one finding
examination                    the whole examination
survey, stored                 the data on the server, read once
backend, workers               checks of the server, and of living workers
snapshots, tasks, tracing      checks of the stored data
fleet, keyrings, unseen        checks of the processes by their metrics
=============================  =================================================================

Checks are functions of the data that was read; the doctor never writes.
"""
