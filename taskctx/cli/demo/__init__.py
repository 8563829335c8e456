"""``taskctx demo``: the main job on real input, in real processes, with every result compared.

    the demo ──HTTP──► server ──Valkey──► worker-1 … worker-n
       ▲                                     │
       └───────── what each task saw ◄───────┘

==========================  ================================================================
command, run, outcome       options; the run from start to end; how else it can end
cluster, backend            what is started: server and workers, and where their queue lives
processes                   starting and stopping a process
callers, exchange           who asks for what; sending it, and reading what tasks report
app, authentication, tasks  what runs over there, in the processes of server, valkey and Docket
variant                     which of two demos it is
fastmcp_server, -_client    what is different with --fastmcp
child, identity, sighting   what both sides share: set-up, tokens, the shape of a report
checks                      what was sent against what was seen
metrics, tracing            the real metrics endpoints; one request's spans as a tree
progress, report            what is shown meanwhile, and at the end
==========================  ================================================================
"""
