"""Off-policy evaluation of logs of any size: `nba evaluate` and `nba compare-policies`."""
