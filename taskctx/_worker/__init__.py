"""The worker's side: restore a task's caller before its body, and set the snapshot's TTL after it."""
