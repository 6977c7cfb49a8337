"""Off-policy evaluation: what a target policy would have earned, told from another policy's log.

A log is read in partitions. Each becomes `Terms`, what every round adds to an estimate, and from them
`Moments`, sums that merge; values, standard errors and intervals are computed once, at the end.
"""
