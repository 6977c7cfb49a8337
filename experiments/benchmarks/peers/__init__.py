"""Our policies and those of other libraries at the same problems: tuned alike, scored on fresh seeds.

Vowpal Wabbit and MABWiser are requirements of this benchmark only (`make bench-peers` installs them).
"""
