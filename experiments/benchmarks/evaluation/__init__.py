"""What off-policy evaluation is judged on: problems of known values, the digits table, coverage and width."""
