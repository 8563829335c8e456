"""taskctx with the versions of other packages that people have: ``python -m tests.versions``."""
