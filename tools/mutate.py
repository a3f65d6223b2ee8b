"""Break the code on purpose, one rule at a time, and list which test notices.

    python tools/mutate.py tests/policies/mutations.toml
    python tools/mutate.py tests/policies/mutations.toml --only P1 --json
    python tools/mutate.py tests/supervision/mutations.toml --tests tests/supervision/test_fuzz.py

A table names the tests, and mutations of two kinds.  Written ones replace a text, and say which rule that breaks.
Generated ones are drawn from the places where an operator can be turned round, a constant moved or a statement
dropped; the seed in the table makes them the same each time::

    tests = ["tests/policies"]            # in this order; the first failure of each module is listed

    [generated]
    files = ["genesis_trio/policies/retry.py"]
    count = 10
    seed = 1

    [[mutation]]
    rule = "P1 a cancellation is not an outcome"
    file = "genesis_trio/policies/_breaker_machine.py"
    old = "if outcome is CANCELLED:"
    new = "if False:"

Each mutation is made in a copy of the tree, so the working tree is never touched.  A survivor is a rule without
a test: the exit status is 1 if there is one, and 2 if a text to replace does not stand in its file exactly once, or if the tests
cannot be collected at all.
Not part of `make test`: twenty mutations take some minutes.
"""

import argparse
import ast
import copy
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
# What a copy needs to run tests.
PARTS = ("genesis_trio", "tests", "benchmarks", "pyproject.toml")
# A mutation may turn a loop into one without end.
SECONDS_FOR_TESTS = 240

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
}


def variants(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """What *node* can be turned into, each with words for it."""
    changed: Any = copy.deepcopy(node)
    if isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARISONS:
        changed.ops[0] = COMPARISONS[type(node.ops[0])]()
        yield "comparison", changed
    elif isinstance(node, ast.BoolOp):
        changed.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield "and / or", changed
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield "not dropped", changed.operand
    elif isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC and not isinstance(node.left, ast.Constant):
        changed.op = ARITHMETIC[type(node.op)]()
        yield "arithmetic", changed
    elif isinstance(node, ast.Return) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, bool):
        changed.value.value = not node.value.value
        yield "answer turned round", changed
    elif isinstance(node, ast.AugAssign) and type(node.op) in ARITHMETIC:
        changed.op = ARITHMETIC[type(node.op)]()
        yield "counted the other way", changed
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield "call dropped", ast.copy_location(ast.Pass(), node)


class Replace(ast.NodeTransformer):
    """Puts *new* where *old* stands."""

    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> ast.AST:
        """The node, or what takes its place."""
        return self.new if node is self.old else self.generic_visit(node)


def generated(files: list[str], count: int, seed: int) -> Iterator[dict[str, str]]:
    """*count* mutations of *files*, each with the whole text of the changed file."""
    sites = []
    for file in files:
        tree = ast.parse((ROOT / file).read_text())
        for outer in ast.walk(tree):
            if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef) and outer.name != "__repr__":
                # Messages may say anything: what only a raise or an f-string holds is left alone.
                texts = {
                    id(n)
                    for raised in ast.walk(outer)
                    if isinstance(raised, ast.Raise | ast.JoinedStr)
                    for n in ast.walk(raised)
                }
                sites += [
                    (file, outer.name, node)
                    for node in ast.walk(outer)
                    if id(node) not in texts and next(variants(node), None)
                ]
    random.Random(seed).shuffle(sites)
    for file, function, node in sites[:count]:
        text = (ROOT / file).read_text()
        tree = ast.parse(text)
        twin = next(
            n for n in ast.walk(tree) if ast.dump(n, include_attributes=True) == ast.dump(node, include_attributes=True)
        )
        words, changed = next(variants(twin))
        before = ast.unparse(twin)
        mutated = ast.unparse(ast.fix_missing_locations(Replace(twin, changed).visit(tree)))
        line = getattr(node, "lineno", 0)
        yield {"rule": f"{words}: {before}", "file": file, "place": f"{function}, line {line}", "text": mutated}


def written(mutation: dict[str, str]) -> dict[str, str]:
    """A mutation of the table, with the whole text of the changed file."""
    text = (ROOT / mutation["file"]).read_text()
    if text.count(mutation["old"]) != 1:
        print(
            f"{mutation['rule']!r}: the text {mutation['old']!r} stands {text.count(mutation['old'])} times in "
            f"{mutation['file']}; change the table so that it stands there once",
            file=sys.stderr,
        )
        raise SystemExit(2)
    line = text[: text.index(mutation["old"])].count("\n") + 1
    return {**mutation, "place": f"line {line}", "text": text.replace(mutation["old"], mutation["new"])}


def run_tests(tree: Path, tests: list[str], maxfail: int) -> tuple[list[str], str]:
    """The tests that fail in *tree*, and how the run ended."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:randomly",
        f"--maxfail={maxfail}",
    ]
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            [*command, "--hypothesis-seed=0", *tests],
            cwd=tree,
            env=environment,
            capture_output=True,
            text=True,
            timeout=SECONDS_FOR_TESTS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return ["(the tests did not end)"], "timeout"
    failed = re.findall(r"^(?:FAILED|ERROR) (\S.*?)(?: - .*)?$", done.stdout, re.MULTILINE)
    if done.returncode and not failed:
        failed = [f"(pytest ended with {done.returncode}: {(done.stdout + done.stderr).strip().splitlines()[-1]})"]
    return failed, done.stdout


def copy_tree(into: Path) -> None:
    """What tests need of the project, under *into*."""
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, into / part, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy(source, into / part)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path, help="a TOML file of tests and mutations")
    parser.add_argument("--only", default="", help="only mutations whose rule contains this text")
    parser.add_argument("--tests", nargs="+", default=[], help="these in place of the tests that the table names")
    parser.add_argument(
        "--maxfail", type=int, default=1, help="list so many failing tests of each; the first is enough to know"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object a mutation")
    arguments = parser.parse_args()
    table = tomllib.loads(arguments.table.read_text())
    mutations = [written(mutation) for mutation in table.get("mutation", [])]
    if "generated" in table:
        mutations += generated(**table["generated"])
    mutations = [mutation for mutation in mutations if arguments.only in mutation["rule"]]
    survivors = 0
    with tempfile.TemporaryDirectory(prefix="mutate-") as directory:
        tree = Path(directory)
        copy_tree(tree)
        # Else every mutation would be caught, by whatever keeps the tests from being made at all.
        failed, output = run_tests(tree, ["--collect-only", *table["tests"]], 1)
        if failed:
            print(f"the tests cannot be collected before anything is changed: {failed}\n{output}", file=sys.stderr)
            return 2
        for number, mutation in enumerate(mutations, 1):
            target = tree / mutation["file"]
            original = target.read_text()
            target.write_text(mutation["text"])
            began = time.monotonic()
            failed, _ = run_tests(tree, arguments.tests or table["tests"], arguments.maxfail)
            target.write_text(original)
            survivors += not failed
            row = {
                "rule": mutation["rule"],
                "file": mutation["file"],
                "place": mutation["place"],
                "caught_by": failed,
                "seconds": round(time.monotonic() - began, 1),
            }
            if arguments.json:
                print(json.dumps(row), flush=True)
            else:
                caught = ", ".join(failed) or "NOTHING"
                print(
                    f"{number:3} {row['rule']}\n    {row['file']}, {row['place']} ({row['seconds']} s)\n    caught by {caught}",
                    flush=True,
                )
    if not arguments.json:
        print(f"{len(mutations)} mutations, {survivors} survived")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
