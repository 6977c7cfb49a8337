"""`python -m nba` is the console script `nba`."""

from nba.cli import main

if __name__ == "__main__":
    main()
