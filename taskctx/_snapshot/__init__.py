"""The snapshot: its fields, its keys, its stored form and its lifetime."""
