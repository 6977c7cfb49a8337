"""`nba train` of one policy: on the simulator or a log, by days or row by row, on any number of workers."""
