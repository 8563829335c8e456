"""``taskctx demo``: real requests to real processes; every task's context is compared.

    the demo ──HTTP──► server ──Valkey──► worker-1 … worker-n
       ▲                                     │
       └───────── what each task saw ◄───────┘

=======================  ================================================================
command, run             options; the run from start to end
cluster                  starting the queue, the server and the workers
callers, exchange        the callers' requests; sending them, and reading the tasks' reports
server, tasks, valkey    the programs of the started processes
fastmcp_server, -client  the differences with --fastmcp; -lines: between FastMCP's majors
child, identity          shared by both sides: set-up, tokens,
sighting                 the fields of a report
checks                   comparing what was sent with what was seen
metrics, tracing         the real metrics endpoints; one request's spans as a tree
progress, report         the output during the run, and at the end
=======================  ================================================================
"""
