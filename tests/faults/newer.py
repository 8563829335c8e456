"""Runs a program with a taskctx from the future: ``python -m tests.faults.newer python -m docket worker ...``.

Its snapshots are of the schema that an environment variable says, and hold fields that are not known yet.  It is this
package with two lines of it written anew as they are imported, so that all of it is consistent.
"""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Any, cast

SCHEMA = "TASKCTX_FAULTS_SCHEMA"
"""Environment variable: the version of the schema that is written; all versions up to it are read."""

REWRITTEN = {
    "taskctx._snapshot.capture": ("\nSCHEMA_VERSION = 1\n", "\nSCHEMA_VERSION = {schema}\n"),
    "taskctx._snapshot.snapshot": (
        "to_json(values.by_name)\n",
        'to_json(dict(values.by_name) | {{"of_the_future": {{"as": ["yet", "unknown"]}}}})\n',
    ),
}
"""By module, one of its lines and what stands there in the future."""


class _Rewriting(SourceFileLoader):
    def get_code(self, fullname: str) -> Any:
        """Never from a cache, where the old lines are."""
        return self.source_to_code(self.get_data(self.path), self.path)

    def get_data(self, path: str) -> bytes:
        text = super().get_data(path).decode()
        old, new = REWRITTEN[self.name]
        assert text.count(old) == 1, f"{old!r} is not a line of {self.name} any more"
        return text.replace(old, new.format(schema=int(os.environ[SCHEMA]))).encode()


class _Finder(PathFinder):
    @classmethod
    def find_spec(
        cls, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in REWRITTEN:
            return None
        spec = super().find_spec(fullname, path, target)
        assert spec is not None
        spec.loader = _Rewriting(fullname, cast("str", spec.origin))
        return spec


if __name__ == "__main__":
    sys.meta_path.insert(0, _Finder)
    # python, -m, the module, its arguments
    _, _, module, *arguments = sys.argv[1:]
    sys.argv[1:] = arguments
    runpy.run_module(module, run_name="__main__", alter_sys=True)
