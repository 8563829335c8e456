"""A small real service on Docket and taskctx, to be copied: reports that are ordered, made by workers, and fetched.

=============  =====================================================================
settings       what the environment says
auth           bearer tokens: issued, verified
store          where reports are kept
tasks          what workers do, as the caller who asked
app            the API
worker         what a worker process imports
logs, tracing  set up the same way in both
load, fault    callers for it, and something to raise the alarm about
=============  =====================================================================
"""
