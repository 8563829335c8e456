"""``python -m dashboards`` writes the generated files."""

from .build import write

write()
