"""``taskctx demo``: the main job on real input, in real processes, with every result compared.

    the demo ──HTTP──► server ──Valkey──► worker-1 … worker-n
       ▲                                     │
       └───────── what each task saw ◄───────┘

=======================  ================================================================
command, run             options; the run from start to end
cluster                  what is started: queue, server and workers
callers, exchange        who asks for what; sending it, and reading what tasks report
server, tasks, valkey    what runs over there, in processes of their own
fastmcp_server, -client  what is different with --fastmcp, and -lines between its majors
child, identity          what both sides share: set-up, tokens,
sighting                 the shape of a report
checks                   what was sent against what was seen
metrics, tracing         the real metrics endpoints; one request's spans as a tree
progress, report         what is shown meanwhile, and at the end
=======================  ================================================================
"""
