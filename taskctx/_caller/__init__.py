"""The caller: its token, headers, carried variables and trace context."""
