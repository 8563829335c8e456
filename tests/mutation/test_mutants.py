"""What the mutator changes, and what it leaves alone."""

from __future__ import annotations

import textwrap

import pytest

from tests.mutation.mutants import mutants_in, mutants_of

CHANGES: dict[str, set[str]] = {
    "x = a < b": {"x = None", "x = a <= b", "x = a >= b"},
    "x = a is b": {"x = None", "x = a is not b"},
    "x = a and b": {"x = None", "x = a or b", "x = a", "x = b"},
    "x = not a": {"x = None", "x = a"},
    "x = a + b": {"x = None", "x = a - b"},
    "x = True": {"x = False"},
    "x = 7": {"x = 8", "x = 6"},
    "x = 'task'": {"x = 'task!X'"},
    "x = b'TCX'": {"x = b'TCX!X'"},
    "x = None": set(),
    "x: int = a": {"x: int = None"},
    "x = Reason.MISSING": {"x = None", "x = Reason.INTERNAL"},
    "x = a[b:]": {"x = None", "x = a[:]", "x = a[b + 1:]"},
    "x += a": {"pass"},
    "f(a, b)": {"pass", "f(None, b)", "f(a, None)", "f(b, a)"},
    "f(a=b)": {"pass", "f()"},
    "f(slots=True)": {"pass"},
    "len(a)": {"pass"},
    "max(a)": {"pass", "min(a)", "max(None)"},
    "a.strip()": {"pass", "a"},
    "return a if b else c": {"return None", "return a if True else c", "return a if False else c"},
    "return {a for a in b if c}": {"return None", "return {a for a in b}", "return {a for a in b if False}"},
    "raise": {"pass"},
    "raise A('text') from None": {"pass", "raise RuntimeError() from None", "raise A('text')"},
    "'a docstring'": set(),
    "cast('A', b)": {"pass"},
    "while a: pass": {"while False:"},
    "for a in b: pass": {"for a in ():"},
    "with a as b: pass": set(),
    "with a: pass": {"if True:"},
    "def a(): pass": set(),
    "@a\ndef b(): pass": {"..."},
    "class A(B): pass": {"class A:"},
}


@pytest.mark.parametrize(("source", "changed"), CHANGES.items(), ids=CHANGES)
def test_what_is_changed(source: str, changed: set[str]) -> None:
    """Each kind of fault, and nothing else."""
    assert {mutant.name.partition("  =>  ")[2] for mutant in mutants_in(source, "module")} == changed


def test_what_is_caught_and_matched_is_changed() -> None:
    """Exceptions are let through, and cases left out."""
    source = """
        try:
            pass
        except (A, B):
            pass
        except C:
            pass
        match a:
            case 1:
                pass
            case _:
                pass
    """
    assert [mutant.name for mutant in mutants_in(textwrap.dedent(source), "module")] == [
        "module: except (A, B):  =>  except (B,):",
        "module: except (A, B):  =>  except (A,):",
        "module: except C:  =>  except ZeroDivisionError:",
        "module: case 1: pass  =>  ...",
        "module: case _: pass  =>  ...",
        "module: case 1:  =>  case 2:",
        "module: case 1:  =>  case 0:",
    ]


def test_every_mutant_has_a_name_of_its_own() -> None:
    """It says where it is; a survivor is accepted by it."""
    names = [mutant.name for mutant in mutants_of("_snapshot.keys")]
    assert len(names) == len(set(names)) > 50
    assert "_snapshot.keys._quoted: if not segment:  =>  if False:" in names


def test_a_mutant_is_the_module_with_one_change() -> None:
    """Compiled, it can be run in the module's place."""
    mutant = next(mutant for mutant in mutants_in("x = 7\ny = 7", "module") if mutant.line == 2)
    namespace: dict[str, object] = {}
    exec(mutant.compiled(), namespace)
    assert (namespace["x"], namespace["y"]) == (7, 8)
