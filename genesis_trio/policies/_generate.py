"""Write the wrapper of a guarded function: the healthy path as one coroutine frame.

A wrapper that takes ``*args, **kwargs`` pays for packing them, and one coroutine for each policy pays
for each: 9.7 times a bare await for four of them, against less than 3 for one frame with the function's
own parameters.  So the frame is written as text, for each shape of parameters and each set of policies
once, and compiled; `Guard.source` shows it.  See docs/decisions/0004-generated-guard-wrappers.md.

What is written here is the way of a call, without a decision: take a permit, make an attempt, give the permit
back, and after a failure wait, and once more.  Whatever there is to decide is asked of the guard, by the
methods that its general path uses, too.
"""

import functools
import inspect
import linecache
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any

import attrs
import trio

from genesis_trio.modes import _SCOPE
from genesis_trio.policies._given_up import MARKS
from genesis_trio.policies._lane import Lane

# In the templates a name that ends in $ is ours; see Shape.suffix for what $ becomes.
_GENERAL = """\
async def guarded({parameters}):
    return await guard$._call(fn$, {args}, {kwargs})
"""

_FAST = """\
async def guarded({parameters}):
    for permit$ in {admissions}:
        break
    else:
        permit$ = lane$.is_refused and lane$.breaker._refuse(lane$)
        if permit$:
            raise permit$.pop()
        permit$ = guard$._admit_first()
        if permit$.__class__ is list$:
            raise permit$.pop()
        if permit$ is None:
            return await guard$._call(fn$, {args}, {kwargs})
    since$ = marks$.made
    course$ = None
    while True:
        try:
            if course$ is not None:
                permit$ = None
                await course$.pause()
                course$.since = marks$.made
                for permit$ in {admissions}:
                    lane$.again += 1
                    break
                else:
                    permit$ = guard$._admit_again(course$)
                    if permit$ is None:
                        continue
{attempt}
        except anything$ as error$:
            course$ = guard$._failed(course$, permit$, error$, since$, fn$)
            if course$ is None:
                raise
        else:
            given$ = None
            for given$ in lane$.successes:
                break
            if given$ is not permit$:
                guard$._succeeded(permit$, result$)
            if course$ is not None:
                course$.succeeded()
            return result$
"""

_ATTEMPT = """\
            result$ = await fn${call}"""

_TIMED_ATTEMPT = """\
            with CancelScope$(relative_deadline=limit$) as timeout$:
                result$ = await fn${call}
            if timeout$.cancelled_caught:
                raise guard$._attempt_timeout_error()"""

# What a wrapper calls ``guard`` is a `Guard`, or a `CircuitBreaker` or a `Retry` that works alone.  It is asked for
#
# - ``_admit_first``, where the lane gives no permit, and the breaker has not refused by itself: a permit, a refusal in a
#   list, or None for the general path;
# - ``_call``, the whole call on the general path;
# - ``_failed``, where an attempt raised, or without a permit the wait for one: None, and the call raises, too, or the
#   course of another attempt, which knows how long to wait for it;
# - ``_admit_again``, the permit of that attempt, or None where it was refused and the course knows what follows;
# - ``_succeeded``, where the lane has taken another permit than this one, or none.

#: What differs from one wrapper to the next.  The rest are globals, because each name of a closure is copied at each call.
FREE_NAMES = ("fn", "guard", "lane", "limit")


@attrs.frozen
class Features:
    """What the healthy path has to do.

    Attributes:
        is_fast: There is one: no policy needs more than a permit and a scope.
        needs: The bits of the capabilities that the mode has to leave; 0 for none.
        has_timeout: Each attempt has a limit.
    """

    is_fast: bool
    needs: int = 0
    has_timeout: bool = False


#: The features of a guard; those of guards with the same policies are one object.
features = functools.cache(Features)


@attrs.frozen
class Shape:
    """The parameters of a function, as the texts that declare them and pass them on.

    Attributes:
        parameters: As in the ``def``, without defaults and annotations.
        args: A tuple of the positional ones.
        kwargs: A dict of the others.
        call: All of them in a call, with parentheses.
        names: The parameters' names.
    """

    parameters: str
    args: str
    kwargs: str
    call: str
    names: tuple[str, ...]

    @property
    def suffix(self) -> str:
        """As many underscores as no parameter ends with: what our own names end with."""
        most = max((len(name) - len(name.rstrip("_")) for name in self.names), default=0)
        return "_" * (most + 1)


#: Of `Guard.execute`: the function comes with the call.
EXECUTE = Shape("fn$, /, *args, **kwargs", "args", "kwargs", "(*args, **kwargs)", ("args", "kwargs"))


def shape_of(signature: inspect.Signature) -> Shape:
    """The shape of a function with *signature*."""
    declared: list[str] = []
    positional: list[str] = []
    keywords: list[str] = []
    passed: list[str] = []
    parameters = list(signature.parameters.values())
    for parameter, following in zip(parameters, [*parameters[1:], None], strict=False):
        name = parameter.name
        if parameter.kind is parameter.KEYWORD_ONLY:
            if not keywords and not any(p.kind is p.VAR_POSITIONAL for p in parameters):
                declared.append("*")
            declared.append(name)
            keywords.append(f"{name!r}: {name}")
            passed.append(f"{name}={name}")
            continue
        star = (
            "*"
            if parameter.kind is parameter.VAR_POSITIONAL
            else "**"
            if parameter.kind is parameter.VAR_KEYWORD
            else ""
        )
        declared.append(star + name)
        passed.append(star + name)
        (keywords if star == "**" else positional).append(star + name)
        if parameter.kind is parameter.POSITIONAL_ONLY and (
            following is None or following.kind is not parameter.POSITIONAL_ONLY
        ):
            declared.append("/")
    return Shape(
        parameters=", ".join(declared),
        args=f"({', '.join(positional)}{',' if positional else ''})",
        kwargs=f"{{{', '.join(keywords)}}}",
        call=f"({', '.join(passed)})",
        names=tuple(signature.parameters),
    )


def write(shape: Shape, features: Features) -> str:
    """The text of a function that makes the wrapper."""
    admissions = "lane$.admissions"
    if features.needs:
        is_one = features.needs.bit_count() == 1
        is_allowed = f"scope$(lane$.root).mask & {features.needs}" + ("" if is_one else f" == {features.needs}")
        admissions += f" if {is_allowed} else ()"
    attempt = (_TIMED_ATTEMPT if features.has_timeout else _ATTEMPT).replace("{call}", shape.call)
    text = _FAST if features.is_fast else _GENERAL
    for field, value in (
        ("parameters", shape.parameters),
        ("admissions", admissions),
        ("attempt", attempt),
        ("args", shape.args),
        ("kwargs", shape.kwargs),
    ):
        text = text.replace(f"{{{field}}}", value)
    body = "".join(f"    {line}\n" for line in text.splitlines())
    free = ", ".join(f"{name}$" for name in FREE_NAMES)
    return f"def make({free}):\n{body}    return guarded\n".replace("$", shape.suffix)


# Builtins among them: a parameter may have the name of one.
_GLOBALS = {
    "marks": MARKS,
    "scope": _SCOPE.get,
    "CancelScope": trio.CancelScope,
    "list": list,
    "anything": BaseException,
}
_MAKERS: dict[str, Callable[..., FunctionType]] = {}


def compile_wrapper(shape: Shape, features: Features, names: Mapping[str, object]) -> FunctionType:
    """A wrapper, in which `FREE_NAMES` mean what *names* says.

    The code is compiled once for each text, and shared.
    """
    source = write(shape, features)
    make = _MAKERS.get(source)
    if make is None:
        filename = f"<genesis_trio guard {len(_MAKERS) + 1}>"
        # So that a traceback through the wrapper shows its lines.
        linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
        namespace: dict[str, Any] = {f"{name}{shape.suffix}": value for name, value in _GLOBALS.items()}
        exec(compile(source, filename, "exec"), namespace)
        make = _MAKERS[source] = namespace["make"]
    return make(*(names[name] for name in FREE_NAMES))


def decorated(
    fn: Callable[..., Any], features: Features, owner: Any, lane: Lane, limit: float | None = None
) -> Callable[..., Any]:
    """*fn* in a wrapper that has its signature, its defaults and its name; *limit* is that of an attempt, in seconds."""
    signature = inspect.signature(fn)
    wrapper = compile_wrapper(shape_of(signature), features, {"fn": fn, "guard": owner, "lane": lane, "limit": limit})
    parameters = [p for p in signature.parameters.values() if p.default is not p.empty]
    wrapper.__defaults__ = tuple(p.default for p in parameters if p.kind is not p.KEYWORD_ONLY)
    wrapper.__kwdefaults__ = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
    return functools.update_wrapper(wrapper, fn)
