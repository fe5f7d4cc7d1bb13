"""What the platform costs: one table of figures, each beside what it is held against.

`make bench` runs it against real processes: MySQL, nginx, and `dist-task up`.
"""
