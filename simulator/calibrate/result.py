"""What a calibration found: for people, for programs, and for the file that it writes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.stats import chi2

from nba.arrays import FloatArray
from simulator.calibrate.borrowed import Borrowed
from simulator.calibrate.fit import Fit
from simulator.calibrate.moments import ADJUSTED, RAW
from simulator.calibrate.parameters import NAMES, PARAMETERS, natural
from simulator.calibrate.run import CONFIDENCE, Ensemble, Problem, Target, targets

CLOSE = 2.0  # standard errors within which a statistic counts as met


class Result(NamedTuple):
    """The best parameters, how well they do, and the ensemble."""

    targets: list[Target]
    fit: Fit
    ensemble: Ensemble
    p_value: float  # of J, were the world true and the table drawn from it
    freedom: float  # statistics fitted, less the parameters that they determine
    noise: float  # variance by simulation, a share of the table's; J is judged with it

    @property
    def odds_ratios(self) -> dict[str, tuple[float, float, float]]:
        """Raw and adjusted odds ratio per further call: of the table, simulated, and z."""
        rows = {row.name: row for row in self.targets}
        return {
            short: (float(np.exp(rows[name].observed)), float(np.exp(rows[name].simulated)), rows[name].z)
            for short, name in (("raw", RAW), ("adjusted", ADJUSTED))
        }

    @property
    def members_hit(self) -> int:
        """Members that meet the raw and the adjusted odds ratio within CLOSE standard errors."""
        places = [place for place, row in enumerate(self.targets) if row.name in (RAW, ADJUSTED)]
        targets = [self.targets[at] for at in places]
        return sum(
            all(
                abs(row._replace(simulated=told[at]).z) <= CLOSE
                for at, row in zip(places, targets, strict=True)
            )
            for told in self.ensemble.statistics
        )

    @property
    def hit(self) -> int:
        """Statistics met within CLOSE standard errors."""
        return sum(abs(row.z) <= CLOSE for row in self.targets)

    @property
    def verdict(self) -> str:
        """Why this calibration is not to be trusted, empty if nothing speaks against it."""
        missed = [name for name, (_, _, z) in self.odds_ratios.items() if abs(z) > CLOSE]
        reasons = {
            "the fit did not converge": not self.fit.converged,
            f"the {' and the '.join(missed)} odds ratio per call is not met": bool(missed),
            f"only {len(self.ensemble.thetas)} members fit of {self.ensemble.tried} drawn": bool(
                self.ensemble.short
            ),
        }
        return "; ".join(reason for reason, holds in reasons.items() if holds)


def result(of: Problem, found: Fit, drawn: Ensemble, noise: float) -> Result:
    """Judge a fit."""
    freedom = of.goal.fitted.size - found.free
    p_value = float(chi2.sf(found.moments / (1.0 + noise), freedom))
    return Result(targets(of, found.statistics), found, drawn, p_value, freedom, noise)


def provenance(
    of: Problem, found: Result, lent: Borrowed, name: str, digest: str, seed: int
) -> dict[str, Any]:
    """The [calibration] table of the written world."""
    values, errors = natural(found.fit.theta), _errors(found.fit)
    raw, adjusted = found.odds_ratios["raw"], found.odds_ratios["adjusted"]
    return {
        "data": name,
        "columns": of.columns.name,
        "digest": digest,
        "seed": seed,
        "converged": found.fit.converged,
        "evaluations": found.fit.evaluations,
        "distance": found.fit.distance,
        "j": found.fit.moments,
        "degrees_of_freedom": found.freedom,
        "simulation_noise": found.noise,
        "p_value": found.p_value,
        "targets": len(found.targets),
        "targets_within_two_errors": found.hit,
        "raw_odds_ratio_data": raw[0],
        "raw_odds_ratio_simulated": raw[1],
        "adjusted_odds_ratio_data": adjusted[0],
        "adjusted_odds_ratio_simulated": adjusted[1],
        "members": len(found.ensemble.thetas),
        "members_drawn": found.ensemble.tried,
        "members_within_two_errors_of_both_odds_ratios": found.members_hit,
        **{f"history.{key}": value for key, value in values.items()},
        **{f"error.{key}": value for key, value in errors.items()},
        **{f"source.{key}": estimate.source for key, estimate in lent._asdict().items() if estimate},
    }


def parameter_rows(found: Fit) -> list[dict[str, Any]]:
    """Each parameter with its error and its prior; errors of positive ones are of the logarithm."""
    values, errors = natural(found.theta), _errors(found)
    return [
        {
            "name": one.name,
            "value": values[one.name],
            "error": errors[one.name],
            "prior": one.middle,
            "prior_error": one.spread,
            "log": one.positive,
            "meaning": one.meaning,
        }
        for one in PARAMETERS
    ]


def as_json(found: Result, lent: Borrowed, out: str) -> dict[str, Any]:
    """Everything, for `--json`."""
    return {
        "out": out,
        "converged": found.fit.converged,
        "verdict": found.verdict,
        "evaluations": found.fit.evaluations,
        "distance": found.fit.distance,
        "j": found.fit.moments,
        "degrees_of_freedom": found.freedom,
        "simulation_noise": found.noise,
        "p_value": found.p_value,
        "odds_ratios": {
            name: {"data": data, "simulated": simulated, "z": z}
            for name, (data, simulated, z) in found.odds_ratios.items()
        },
        "targets": [row._asdict() | {"z": row.z} for row in found.targets],
        "parameters": parameter_rows(found.fit),
        "borrowed": {name: one._asdict() for name, one in lent._asdict().items() if one},
        "ensemble": {
            "members": len(found.ensemble.thetas),
            "drawn": found.ensemble.tried,
            "hit_both_odds_ratios": found.members_hit,
            "limit": found.ensemble.limit,
            "distances": list(found.ensemble.distances),
        },
    }


def lines(found: Result) -> list[str]:
    """Tables for people: statistics, parameters, and how well the whole fits."""
    text = [f"{'statistic':<36}{'data':>10}{'simulated':>11}{'z':>7}"]
    for row in found.targets:
        shown = "" if row.fitted else "  not fitted"
        text.append(f"{row.name:<36}{row.observed:>10.4f}{row.simulated:>11.4f}{row.z:>7.2f}{shown}")
    text += ["", f"{'parameter':<24}{'value':>9}{'error':>8}{'prior':>9}{'error':>8}  meaning"]
    for one in parameter_rows(found.fit):
        log = "log" if one["log"] else "   "
        text.append(
            f"{one['name']:<24}{one['value']:>9.4g}{one['error']:>8.2f}{one['prior']:>9.4g}"
            f"{one['prior_error']:>8.2f}  {log} {one['meaning']}"
        )
    for name, (data, simulated, z) in found.odds_ratios.items():
        both = f"{data:.3f} in the data, {simulated:.3f} simulated (z {z:+.2f})"
        text.append(f"{name} odds ratio per further call: {both}")
    drawn = found.ensemble
    text += [
        f"J = {found.fit.moments:.1f} on {found.freedom:.1f} degrees of freedom (p = {found.p_value:.3f}, "
        f"simulation noise {found.noise:.0%} of the table's variance); "
        f"{found.hit} of {len(found.targets)} statistics within {CLOSE:g} standard errors",
        f"{len(drawn.thetas)} members of {drawn.tried} drawn lie in the joint {CONFIDENCE:.0%} region, "
        f"{found.members_hit} of them within {CLOSE:g} standard errors of both odds ratios",
    ]
    return text


def _errors(found: Fit) -> dict[str, float]:
    errors: FloatArray = np.sqrt(np.diag(found.covariance))
    return dict(zip(NAMES, errors.tolist(), strict=True))
