"""The inner loops of a day, fused for Numba.

`NUMBA` has the functions of simulator.engine. Their definitions are NumPy's, elsewhere in this package's
parent; a test holds every one of these to them, bit for bit. Kernels gather and add in the order of the
definition, on one core and without shortcuts in arithmetic (no fastmath), and leave logarithms and
exponentials to NumPy.
"""

from __future__ import annotations

from simulator.engine import Engine
from simulator.kernels.behaviour import kinds, move_logs
from simulator.kernels.capacity import served
from simulator.kernels.hazards import ceiling_logs, logs, organic_logs, picked
from simulator.kernels.memory import booked, met, remembered
from simulator.kernels.philox import screened, words

NUMBA = Engine(
    words=words,
    screened=screened,
    remembered=remembered,
    booked=booked,
    met=met,
    logs=logs,
    organic_logs=organic_logs,
    ceiling_logs=ceiling_logs,
    picked=picked,
    move_logs=move_logs,
    kinds=kinds,
    served=served,
)
