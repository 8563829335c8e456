"""The submitter's side: a task and its snapshot are submitted together."""
