"""The sending end: a task and its snapshot are submitted together."""
