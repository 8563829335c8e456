"""Who asks: the caller, its token, headers, carried variables and trace context."""
