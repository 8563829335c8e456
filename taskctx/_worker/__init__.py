"""The receiving end: a task's caller is restored before its body, and the snapshot's life goes on after it."""
