"""What ``doctor``, ``inspect`` and ``top`` look at, each from outside and without changing anything.

=========  =====================================================================
server     a Redis or Valkey server, alone, in a cluster or behind Sentinel
layout     which Redis key is what
fleet      the processes of taskctx as their metrics show them
web        fetching metrics and Prometheus's answers
histogram  quantiles
words      durations, sizes, counts and foreign text for people
=========  =====================================================================
"""
