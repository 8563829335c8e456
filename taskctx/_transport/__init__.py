"""How a snapshot travels: the only code that speaks to Redis."""
