"""What a caller may choose of a bundle, by name or as an object, checked."""

from typing import Any, Optional, Union

from .bundle import Bundle
from .core.exits import ExitPolicy, make_policy
from .core.spec import FULL_PLAN, Plan
from .errors import ConfigError


def choose_policy(bundle: Bundle, policy: Union[str, ExitPolicy, None]) -> ExitPolicy:
    """The policy of that name, or "final" for the full network; None for the bundle's default.

    Raises ConfigError that lists the names there are.
    """
    manifest = bundle.manifest
    if policy is None:
        return manifest.policies[manifest.default_policy]
    if isinstance(policy, ExitPolicy):
        return policy
    if policy in manifest.policies:
        return manifest.policies[policy]
    if policy == "final":
        return make_policy({"kind": "final"})
    raise ConfigError(
        'policy: found {!r}, expected one of {} (the bundle\'s), "final", or an object such as '
        "edgesdk.MaxProbability(0.9)".format(policy, ", ".join(manifest.policies))
    )


def choose_plan(bundle: Bundle, policy: Union[str, ExitPolicy, None], name: Optional[str]) -> Plan:
    """The plan asked for, or the one the named policy was calibrated for, or the full one.

    Raises ConfigError that lists the names there are.
    """
    manifest = bundle.manifest
    if name is None and not isinstance(policy, ExitPolicy):
        entry = manifest.document["policies"].get(policy or manifest.default_policy, {})
        name = entry.get("plan")
    plans = manifest.parts[0].plans
    if name is not None and name not in plans:
        raise ConfigError(
            "plan: found {!r}, expected one of {}".format(name, ", ".join(sorted(plans)))
        )
    return plans[name or FULL_PLAN]


def check_count(name: str, value: Any) -> None:
    """Raise ConfigError unless `value` is a whole number from 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError("{}: found {!r}, expected a whole number from 1".format(name, value))


def deadline_us_of(deadline_ms: Optional[float], now_us: int) -> Optional[int]:
    """The time at which what is handed in now must be answered, or None.

    Raises ConfigError for what is no time above 0.
    """
    if deadline_ms is None:
        return None
    if isinstance(deadline_ms, bool) or not isinstance(deadline_ms, (int, float)):
        raise ConfigError("deadline_ms: found {!r}, expected a number".format(deadline_ms))
    if not 0 < deadline_ms < 1e9:
        raise ConfigError(
            "deadline_ms: found {}, expected milliseconds above 0".format(deadline_ms)
        )
    return now_us + int(deadline_ms * 1000)


def wants_best(on_deadline: str) -> bool:
    """Whether the best answer known at a deadline counts. Raises ConfigError for other words."""
    if on_deadline not in ("best", "expire"):
        raise ConfigError(
            'on_deadline: found {!r}, expected "best" or "expire"'.format(on_deadline)
        )
    return on_deadline == "best"
