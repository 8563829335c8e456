"""Reading for ``doctor``, ``inspect`` and ``top``: from outside of the processes, and without any change.

=========  =====================================================================
server     a Redis or Valkey server, alone, in a cluster or behind Sentinel
layout     the meaning of Redis keys
fleet      the processes with taskctx, by their metrics
web        fetching metrics and Prometheus's answers
histogram  quantiles
words      durations, sizes, counts and untrusted text for people
=========  =====================================================================
"""
