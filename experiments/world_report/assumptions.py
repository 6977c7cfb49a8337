"""Numbers that nobody has measured, drawn anew: a world in which they are somewhat wrong.

An ensemble varies what a campaign table tells. Most numbers of a world are told by no table; each of those
below is moved on its own, so that a ranking which hangs on one of them shows it (methods F3: "expert
ranges and domain randomisation").
"""

from __future__ import annotations

import numpy as np
from msgspec import structs

from nba.randomness import draw_generator
from simulator.config import WorldConfig

SPREAD = 0.42  # of the log of a factor: nine of ten lie between one half and two
_ROWS = ("lift", "organic", "cross_fatigue")
VARIED = (
    *(f"response.{name}" for name in (*_ROWS, "openness")),
    *("response.opt_out.base", "response.opt_out.cost", "response.complaint.base", "response.complaint.cost"),
)


def doubted(config: WorldConfig, number: int) -> WorldConfig:
    """The world with draw `number` of the fields VARIED; openness is a logit and moves by a sum."""
    rng, answer = draw_generator(0, number), config.response

    def scaled(value: float | tuple[float, ...], most: float = np.inf) -> float | tuple[float, ...]:
        drawn = np.minimum(np.array(value) * np.exp(SPREAD * rng.standard_normal(np.shape(value))), most)
        return tuple(drawn.tolist()) if drawn.ndim else float(drawn)

    changes = {name: scaled(getattr(answer, name)) for name in _ROWS}
    openness = np.array(answer.openness) + SPREAD * rng.standard_normal(len(answer.openness))
    left, loud = (
        structs.replace(part, base=scaled(part.base, most=1.0), cost=scaled(part.cost))
        for part in (answer.opt_out, answer.complaint)
    )
    response = structs.replace(
        answer, **changes, openness=tuple(openness.tolist()), opt_out=left, complaint=loud
    )
    return structs.replace(config, response=response)
