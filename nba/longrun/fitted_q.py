"""Fitted Q iteration with trees, plain and conservative: a challenger of the fatigue price (methods C3.4).

It asks for no kernel of fatigue and no model of rewards, only for journeys with their propensities. With V
the worth of silence and U what a contact gains above it, both averages over the leaves of forests,

    Q(s, 0) = V(s)        Q(s, a) = V(s) + U(s, a) - cost(a)        target = r + discount^days max_a Q(s', a).

V learns from decisions for silence, U from contacts what V does not explain: trees that had to find both at
once would split on what customers bring anyway. Between growths the trees stand still, so that a sweep
averages (Ernst, Geurts and Wehenkel 2005; Gordon 1995). Shape letters: n decisions, p pairs of a decision and
a contact eligible there, T trees, M members.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from nba.arrays import AnyArray, BoolArray, FloatArray, IntArray, check_shape
from nba.longrun.iteration import ValuesDiverged
from nba.longrun.steps import Steps
from nba.posteriors.fitted_q import SOURCE, FittedAdvantages, FittedQModel
from nba.posteriors.forest import Forest
from nba.posteriors.members import joint
from nba.posteriors.regressor import fit, new_regressor

_CHUNK = 65_536  # rows that trees are asked about at a time
_INNER = 25  # sweeps that value one choice of next contacts before they choose again
_LEAST_STEP = 0.2  # of the conservative term towards what Q asks for, per sweep


class FittedQ(NamedTuple):
    """A settled Q."""

    posterior: FittedAdvantages
    n_sweeps: int  # of choosing, over all growths
    changed: float  # of values by the last sweep, in their standard deviations
    value: float  # mean worth of the next states, account currency


class _Pairs(NamedTuple):
    """Contacts that are eligible in some states, state by state."""

    rows: IntArray  # (p,)
    actions: IntArray  # (p,)
    place: IntArray  # (n, A) number of the pair, -1 where there is none

    @staticmethod
    def of(eligible: BoolArray) -> _Pairs:
        rows, contacts = np.nonzero(eligible[:, 1:])
        place = np.full(eligible.shape, -1)
        place[rows, contacts + 1] = np.arange(rows.size)
        return _Pairs(rows, contacts + 1, place)

    def table(self, values: FloatArray) -> FloatArray:
        """(n, A) of values of pairs (p,): 0 for no-contact, -inf where there is no pair."""
        table = np.full(self.place.shape, -np.inf)
        table[:, 0] = 0.0
        table[self.rows, self.actions] = values
        return table


class _Ground(NamedTuple):
    """What all members share."""

    model: FittedQModel
    steps: Steps
    codes: FloatArray  # (A - 1, F)
    costs: FloatArray  # (A,)
    member: IntArray  # (n,) whose decision it is
    now: _Pairs
    ahead: _Pairs

    @property
    def discounts(self) -> FloatArray:
        """(n,) of the next state, 0 after an end."""
        return np.where(self.steps.ends, 0.0, self.model.discount**self.steps.days)


class _Member(NamedTuple):
    """One estimator: its forests, and the leaves in which rows end."""

    silence: Forest
    uplift: Forest
    silent: IntArray  # own decisions for silence
    contacts: IntArray  # own contacts
    silent_leaves: IntArray  # (., T)
    base_leaves: IntArray  # (., T) of the silence forest, where contacts were made
    contact_leaves: IntArray  # (., T)
    next_leaves: IntArray  # (n, T) of the silence forest in all next states
    pair_leaves: IntArray  # (p, T) of all next pairs
    own_pairs: IntArray  # pairs of own states now, for the conservative term
    own_leaves: IntArray  # (., T)

    def taught(self, ground: _Ground, targets: FloatArray) -> _Member:
        """With values of leaves that average targets (n,)."""
        silence = self.silence.valued(self.silent_leaves, targets[self.silent])
        gross = targets[self.contacts] + ground.costs[ground.steps.actions[self.contacts]]
        uplift = self.uplift.valued(self.contact_leaves, gross - silence.read(self.base_leaves))
        return self._replace(silence=silence, uplift=uplift)

    def worth(self, ground: _Ground, chosen: IntArray) -> FloatArray:
        """(n,) of the next states under actions (n,)."""
        worth = self.silence.read(self.next_leaves)
        (rows,) = chosen.nonzero()
        pairs = ground.ahead.place[rows, chosen[rows]]
        worth[rows] += self.uplift.read(self.pair_leaves[pairs]) - ground.costs[chosen[rows]]
        return worth

    def choice(self, ground: _Ground) -> IntArray:
        """(n,) the best action of every next state."""
        net = self.uplift.read(self.pair_leaves) - ground.costs[ground.ahead.actions]
        best: IntArray = ground.ahead.table(net).argmax(axis=1)
        return best

    def penalty(self, ground: _Ground) -> FloatArray:
        """(n,) for own decisions: alpha (mu / p - 1), the minimiser of the conservative loss."""
        model, steps, pairs = ground.model, ground.steps, ground.now
        values = np.full(pairs.rows.size, -np.inf)
        values[self.own_pairs] = (
            self.uplift.read(self.own_leaves) - ground.costs[pairs.actions[self.own_pairs]]
        )
        table = pairs.table(values) / model.temperature
        likes = np.exp(table - table.max(axis=1, keepdims=True))
        mu = likes[np.arange(likes.shape[0]), steps.actions] / likes.sum(axis=1)
        penalty: FloatArray = model.conservatism * (
            np.minimum(mu / steps.propensities, model.most_ratio) - 1.0
        )
        return penalty


def fit_q(
    model: FittedQModel,
    prior: FittedAdvantages,
    costs: FloatArray,
    steps: Steps,
    rng: np.random.Generator,
) -> FittedQ:
    """Q of the best policy that journeys can tell of; `rng` deals them to the members.

    `prior` is the model's, `costs` (A,) are those of contacts. With `conservatism` alpha the target of a
    decision is lowered by alpha (mu(a|s) / p - 1), mu the softmax of Q and p its logged propensity: where the
    derivative of the loss of conservative Q-learning is 0 (Kumar et al. 2020, equation 4), so that known
    propensities spare the gradients. `most_ratio` cuts mu / p. Raises BadLog where steps cannot be, and
    ValuesDiverged where journeys are too few or values do not settle.
    """
    steps = steps.checked()
    check_shape(steps.features, (None, prior.n_columns), "features")
    check_shape(costs, (steps.eligible.shape[1],), "costs")
    _, journeys = np.unique(steps.journeys, return_inverse=True)
    n_journeys = int(journeys.max(initial=-1)) + 1
    dealt = rng.permutation(n_journeys) % model.n_members
    pairs = _Pairs.of(steps.eligible), _Pairs.of(steps.next_eligible & ~steps.ends[:, None])
    ground = _Ground(model, steps, prior.factors, costs, dealt[journeys], *pairs)
    targets, sweeps, members, changed = steps.rewards, 0, [], np.inf
    for growth in range(model.growths):
        members = [_grown(ground, number, targets, growth) for number in range(model.n_members)]
        members, targets, more, changed = _settled(ground, members, targets)
        sweeps += more
    posterior = prior.fitted([one.uplift for one in members], float(steps.actions.size))
    values = np.mean([one.worth(ground, one.choice(ground)) for one in members])
    return FittedQ(posterior, sweeps, changed, float(values))


def _settled(
    ground: _Ground, members: list[_Member], targets: FloatArray
) -> tuple[list[_Member], FloatArray, int, float]:
    """Members and targets (n,) that no longer move, sweeps made, and how much the last one changed."""
    model, held = ground.model, np.zeros_like(targets)
    for sweep in range(1, model.most_sweeps + 1):
        before = targets
        chosen = _by_member(ground, [one.choice(ground) for one in members])
        due = _by_member(ground, [one.penalty(ground) for one in members]) if model.conservatism else held
        off = float(np.abs(due - held).mean())
        step = max(2.0 / (1.0 + sweep), _LEAST_STEP)  # smaller and smaller: the term answers to itself
        held = held + step * (due - held)
        for _ in range(_INNER):
            members = [one.taught(ground, targets - held) for one in members]
            targets = ground.steps.rewards + ground.discounts * _valued(ground, members, chosen)
        off = max(off, float(np.abs(targets - before).mean()))
        changed = off / max(float(targets.std()), np.finfo(float).tiny)
        if changed <= model.tolerance:
            return members, targets, sweep, changed
    raise ValuesDiverged(
        f"fitted Q iteration: values still change by {changed:.4g} of their standard deviation after "
        f"{model.most_sweeps} sweeps; allow more of them, larger leaves ({model.least_leaf}) or a smaller "
        f"discount ({model.discount:g}), or be less conservative ({model.conservatism:g})."
    )


def _by_member(ground: _Ground, found: list[Any]) -> Any:
    """(n,) for each decision what its own member has found (n,)."""
    return np.stack(found)[ground.member, np.arange(ground.member.size)]


def _valued(ground: _Ground, members: list[_Member], chosen: IntArray) -> FloatArray:
    """(n,) worth of the next states under chosen actions, by the members that have not chosen them."""
    worth = np.stack([one.worth(ground, chosen) for one in members])
    if len(members) == 1:
        return worth.ravel()
    own = worth[ground.member, np.arange(chosen.size)]
    others: FloatArray = (worth.sum(axis=0) - own) / (len(members) - 1)
    return others


def _grown(ground: _Ground, number: int, targets: FloatArray, growth: int) -> _Member:
    """A member's forests, grown on its own decisions and targets (n,), and the leaves it is asked for."""
    model, steps = ground.model, ground.steps
    own = ground.member == number
    silent, contacts = np.flatnonzero(own & (steps.actions == 0)), np.flatnonzero(own & (steps.actions > 0))
    for name, rows in (("silence", silent), ("contacts", contacts)):
        if rows.size < 2 * model.least_leaf:
            raise ValuesDiverged(
                f"fitted Q: member {number} of {model.n_members} has {rows.size} decisions for {name} "
                f"and needs {2 * model.least_leaf}; give more journeys, fewer members or smaller leaves."
            )
    seed = model.seed + model.growths * number + growth
    silence = _Trees.grown(model, steps.features[silent], targets[silent], seed)
    base = silence.leaves(ground, steps.features, contacts)
    gross = targets[contacts] + ground.costs[steps.actions[contacts]] - silence.forest.read(base)
    made = joint(steps.features[contacts], ground.codes[steps.actions[contacts] - 1])
    uplift = _Trees.grown(model, made, gross, seed)
    mine = np.flatnonzero(own[ground.now.rows]) if model.conservatism else np.zeros(0, dtype=np.int64)
    now, ahead = ground.now, ground.ahead
    return _Member(
        silence.forest,
        uplift.forest,
        silent,
        contacts,
        silence.leaves(ground, steps.features, silent),
        base,
        uplift.leaves(ground, steps.features, contacts, steps.actions[contacts]),
        silence.leaves(ground, steps.next_features, np.arange(own.size)),
        uplift.leaves(ground, steps.next_features, ahead.rows, ahead.actions),
        mine,
        uplift.leaves(ground, steps.features, now.rows[mine], now.actions[mine]),
    )


class _Trees(NamedTuple):
    """A forest and the regressor that has grown it, which finds leaves faster."""

    regressor: Any
    forest: Forest

    @staticmethod
    def grown(model: FittedQModel, inputs: FloatArray, targets: FloatArray, seed: int) -> _Trees:
        settings = {"n_estimators": model.n_trees, "min_samples_leaf": model.least_leaf}
        new = new_regressor(model.regressor, settings, SOURCE, seed)
        regressor = fit(new, inputs, targets, np.ones_like(targets), SOURCE)
        return _Trees(regressor, Forest.of(regressor, SOURCE))

    def leaves(
        self, ground: _Ground, features: FloatArray, rows: IntArray, actions: IntArray | None = None
    ) -> AnyArray:
        """(., T) nodes, in 32 bits, in which rows of features end, beside the codes of actions if any."""
        found = np.zeros((rows.size, self.forest.roots.size), dtype=np.int32)
        for start in range(0, rows.size, _CHUNK):
            part = slice(start, start + _CHUNK)
            inputs = features[rows[part]]
            if actions is not None:
                inputs = joint(inputs, ground.codes[actions[part] - 1])
            found[part] = self.regressor.apply(inputs) + self.forest.roots
        return found
