"""How much is drawn: thousands of steps within seconds, and more where the profile has more examples."""

from hypothesis import HealthCheck, settings

# Hypothesis's own; a profile with a multiple of it multiplies what is drawn.
_USUAL = 100


def drawn(examples: int, steps: int = 1) -> settings:
    """So many examples, of up to so many steps each where there are steps."""
    return settings(
        max_examples=max(1, examples * settings().max_examples // _USUAL),
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
