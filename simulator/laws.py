"""A configuration as the arrays that the dynamics read, with what is switched off left out."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nba.arrays import FloatArray, IntArray
from nba.fatigue import FatigueKernel
from simulator.amounts import AmountLaw
from simulator.behaviour import BehaviourLaw
from simulator.capacity import CapacityConfig
from simulator.config import WorldConfig
from simulator.engine import NUMPY, Engine
from simulator.hazards import HazardLaw
from simulator.life_cycle import LifeCycleLaw
from simulator.mechanisms import switched
from simulator.response import ContactLaw


class Laws(NamedTuple):
    """How a world works: all that respond and advance need besides the state and the day."""

    config: WorldConfig  # as it is in force
    contact: ContactLaw
    hazards: HazardLaw
    life: LifeCycleLaw
    behaviour: BehaviourLaw
    amounts: AmountLaw
    kernel: FatigueKernel
    spill: FloatArray  # (C, C) of the fatigue kernel
    capacity: CapacityConfig
    delays: FloatArray  # (P,) days, mean of the decision delay
    costs: FloatArray  # (C,) per contact
    opt_out_cost: FloatArray  # (C,)
    limits: tuple[tuple[int, int, int], ...]  # platform limits: channel, contacts, days
    factors: tuple[IntArray, IntArray, IntArray]  # channel, timing, product of each action, -1 for no-contact
    engine: Engine  # who runs the inner loops

    @staticmethod
    def of(config: WorldConfig, engine: Engine = NUMPY) -> Laws:
        """Read a configuration."""
        config = switched(config)
        catalogue = config.catalogue
        platform = (
            (catalogue.level("channel", one.channel), one.contacts, one.days)
            for one in config.response.platform_limits
        )
        return Laws(
            config=config,
            contact=ContactLaw.of(config),
            hazards=HazardLaw.of(config),
            life=LifeCycleLaw.of(config),
            behaviour=BehaviourLaw.of(config),
            amounts=AmountLaw.of(config),
            kernel=config.fatigue,
            spill=config.fatigue.spill(catalogue),
            capacity=config.capacity,
            delays=np.array([product.decision_delay_days for product in catalogue.products]),
            costs=np.array([channel.cost for channel in catalogue.channels]),
            opt_out_cost=np.array(config.response.opt_out.cost),
            limits=tuple(platform),
            factors=(catalogue.channel_of, catalogue.timing_of, catalogue.product_of),
            engine=engine,
        )
