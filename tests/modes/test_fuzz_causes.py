"""The algebra of causes against a plain model, over many random steps.

More of it: ``python tests/modes/test_fuzz_causes.py STEPS [SEED]``.
"""

import random
import sys

import pytest
import trio.testing

from genesis_trio import Capability, Mode, mode_scope
from genesis_trio.modes import MODE_CAPABILITIES, ModeScope

ALL = Capability.READ | Capability.CANCEL | Capability.REDUCE | Capability.OPEN
STEPS = 100_000
PER_RUN = 5_000


class Model:
    """Scopes as a table of parents, causes as a table of what is held: nothing is pushed, all is computed anew."""

    def __init__(self):
        self.parents = {}
        self.causes = {}  # (scope, owner, reason) -> mode, capabilities or None, due

    def expect(self, scope):
        mode, capabilities = Mode.NORMAL, ALL
        while scope is not None:
            for (where, _, _), (held, left, _) in self.causes.items():
                if where is scope:
                    mode = max(mode, held)
                    capabilities &= MODE_CAPABILITIES[held]
                    if left is not None:
                        capabilities &= left
            scope = self.parents[scope]
        return mode, capabilities


class Fuzz:
    def __init__(self, rng, root):
        self.rng = rng
        self.model = Model()
        self.model.parents[root] = None
        self.scopes = [root]
        self.holds = {}
        self.epochs = {root: root.epoch}
        self.last = {root: self.model.expect(root)}
        self.told = {}
        self.modes = {}
        self.watch(root)

    def watch(self, scope):
        self.told[scope] = []
        self.modes[scope] = scope.mode
        scope.watch(self.told[scope].append)

    def step(self):
        action = self.rng.choices(
            (self.hold, self.release, self.clear, self.clear_owned, self.grow, self.prune, self.pass_time),
            (10, 8, 3, 1, 2, 1, 3),
        )[0]
        return action()

    def hold(self):
        rng, scope = self.rng, self.rng.choice(self.scopes)
        owner, reason = rng.choice("abc"), rng.choice("xy")
        mode = rng.choice(list(Mode))
        capabilities = rng.choice((None, None, Capability(rng.randrange(16))))
        expires = rng.choice((None, None, rng.choice((0.5, 1.0, 3.0))))
        key = (scope, owner, reason)
        hold = scope.hold(mode, owner=owner, reason=reason, capabilities=capabilities, expires=expires)
        if key in self.model.causes:
            assert hold is self.holds[key]
        self.holds[key] = hold
        due = None if expires is None else trio.current_time() + expires
        self.model.causes[key] = (mode, capabilities, due)

    def release(self):
        if self.holds:
            key = self.rng.choice(list(self.holds))
            self.holds[key].release()
            self.holds[key].release()  # again has no effect, also on who holds the same place later
            self.model.causes.pop(key, None)
            self.holds.pop(key)

    def clear(self):
        scope = self.rng.choice(self.scopes)
        held = [key for key in self.model.causes if key[0] is scope]
        if held:
            key = self.rng.choice(held)
            scope.clear(key[1], key[2], by="fuzz")
            del self.model.causes[key]
        else:
            with pytest.raises(LookupError):
                scope.clear("a", "x", by="fuzz")

    def clear_owned(self):
        scope, owner = self.rng.choice(self.scopes), self.rng.choice("abc")
        scope.clear_owned(owner, "fuzz")
        reached = set(scope.walk())
        while scope is not None:
            reached.add(scope)
            scope = self.model.parents[scope]
        for key in [key for key in self.model.causes if key[0] in reached and key[1] == owner]:
            del self.model.causes[key]

    def grow(self):
        if len(self.scopes) < 12:
            parent = self.rng.choice(self.scopes)
            scope = ModeScope(f"s{len(self.model.parents)}", parent, parent.tree)
            self.model.parents[scope] = parent
            self.scopes.append(scope)
            self.epochs[scope] = scope.epoch
            self.last[scope] = self.model.expect(scope)
            self.watch(scope)

    def prune(self):
        if len(self.scopes) > 7:
            gone = set(self.rng.choice(self.scopes[3:]).walk())
            for scope in gone:
                scope.detach()
            self.scopes = [scope for scope in self.scopes if scope not in gone]
            for table in (self.model.causes, self.holds):
                for key in [key for key in table if key[0] in gone]:
                    del table[key]

    async def pass_time(self):
        await trio.sleep(self.rng.choice((0.1, 0.7, 2.0)))
        await trio.testing.wait_all_tasks_blocked()
        now = trio.current_time()
        for key in [key for key, (_, _, due) in self.model.causes.items() if due is not None and due <= now]:
            del self.model.causes[key]

    def check(self):
        for scope in self.scopes:
            expected = self.model.expect(scope)
            assert (scope.mode, scope.capabilities) == expected, scope.why()
            changed = expected != self.last[scope]
            assert (scope.epoch != self.epochs[scope]) or not changed, "a change without a new epoch"
            self.last[scope], self.epochs[scope] = expected, scope.epoch
            told = self.told[scope]
            assert (told[-1] if told else self.modes[scope]) is scope.mode, "the last that was told is what is"
            assert all(a is not b for a, b in zip([self.modes[scope], *told], told, strict=False)), "each is a change"
            self.modes[scope] = scope.mode
            told.clear()
            assert {(cause.owner, cause.reason) for cause in scope.causes} == {
                key[1:] for key in self.model.causes if key[0] is scope
            }


async def fuzz(seed, steps):
    rng = random.Random(seed)
    with mode_scope("root-of-fuzz") as root:
        run = Fuzz(rng, root)
        for number in range(steps):
            waiting = run.step()
            if waiting is not None:
                await waiting
            if number % 5 == 0:
                run.check()
        run.check()


@pytest.mark.untraced
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(STEPS // PER_RUN))
async def test_causes_random_steps_agree_with_the_model(seed, autojump_clock):
    """Effective mode is the worst over the ancestors, capabilities the intersection; clearing one never clears another."""
    await fuzz(seed, PER_RUN)


if __name__ == "__main__":
    steps = int(sys.argv[1])
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 1000
    for seed in range(first, first + max(1, steps // PER_RUN)):
        trio.run(fuzz, seed, PER_RUN, clock=trio.testing.MockClock(autojump_threshold=0))
    print(f"{steps} steps, seeds {first} to {seed}: nothing found")
