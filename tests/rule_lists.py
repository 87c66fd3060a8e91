"""The update rules as the tests go through them, from the rules' records: a new one is tested without being named."""

from fastfc.ops import rules

RULES = list(rules.RULES)
# They divide by the gradient's own size, or take its sign: a gradient that is zero but for rounding becomes a whole
# step.
ADAPTIVE = [name for name, rule in rules.RULES.items() if "epsilon" in rule.defaults or name == "lion"]
OTHERS = [name for name in RULES if name not in ADAPTIVE]


def rates(**known):
    """Rule -> a learning rate that suits small networks, unless `known` has another one."""
    # Lion moves whatever has a gradient, be it rounding noise, by the whole rate.
    known = {"lion": 1e-5, **known}
    return {name: known.get(name, 1e-3 if name in ADAPTIVE else 0.02) for name in RULES}
