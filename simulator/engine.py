"""Who runs the inner loops of a day.

NumPy is the definition of every function here. Numba has the same functions with fused loops that gather
and add in the same order; logarithms and exponentials are NumPy's in both, so the answers are the same,
bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias

from numpy import uint32
from numpy.typing import NDArray

from nba.arrays import FloatArray, IntArray
from nba.errors import require
from nba.fatigue import FatigueKernel
from nba.randomness import keyed_words
from simulator import behaviour, capacity, hazards, life_cycle, memory, response, screen
from simulator.behaviour import BehaviourLaw
from simulator.hazards import CeilingLogs, HazardLaw, OrganicLogs
from simulator.memory import Booking, Met
from simulator.response import ContactLaw, Contacts, Logs
from simulator.screen import Bounds, Screened
from simulator.state import Memory, WorldState
from simulator.today import Today

EngineName: TypeAlias = Literal["auto", "numpy", "numba"]


class Engine(NamedTuple):
    """The functions that an engine runs in its own way; each is described where NumPy's is defined."""

    words: Callable[..., NDArray[uint32]]
    screened: Callable[[WorldState, Bounds], Screened]
    remembered: Callable[[WorldState, IntArray, int, FatigueKernel, FloatArray], Memory]
    booked: Callable[[WorldState, Memory, Booking, FatigueKernel, FloatArray], WorldState]
    met: Callable[[Memory, IntArray, IntArray], Met]
    logs: Callable[[ContactLaw, HazardLaw, Today, WorldState, Contacts], Logs]
    organic_logs: OrganicLogs
    ceiling_logs: CeilingLogs
    picked: Callable[..., IntArray]
    move_logs: life_cycle.MoveLogs
    kinds: Callable[[BehaviourLaw, WorldState, IntArray, FloatArray], IntArray]
    served: capacity.Serve


NUMPY = Engine(
    words=keyed_words,
    screened=screen.screened,
    remembered=memory.remembered,
    booked=memory.booked,
    met=memory.met,
    logs=response.logs,
    organic_logs=hazards.organic_logs,
    ceiling_logs=hazards.ceiling_logs,
    picked=hazards.picked,
    move_logs=life_cycle.move_logs,
    kinds=behaviour.kinds,
    served=capacity.served,
)


def engine_of(name: EngineName, source: str) -> Engine:
    """The engine of a name; auto is Numba where it is installed. `source` names the world in errors."""
    if name == "numpy":
        return NUMPY
    try:
        from simulator.kernels import NUMBA
    except (ImportError, RuntimeError) as error:  # not installed, or nowhere to keep what it compiles
        rule = f"numba cannot be used here ({error}); use numpy or auto"
        require(name == "auto", source, "engine", rule)
        return NUMPY
    return NUMBA
