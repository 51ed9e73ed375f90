"""What differences by seed and class allow to conclude: pure functions of arrays.

Data of a table and a metric are d[m, s, c], row − baseline, for row m, seed s and test class c. Two
questions are asked of them: new seeds *and* new classes of the domain (crossed), and new seeds on
these very test classes (moderated). adjustment and joint take the number of rows into account,
best finds the rows that may be the best, verdicts puts a table's marks together, planning tells
what more classes or seeds would buy, across looks over data sources, rank_correlation at the order
of the rows of two tables. NumPy and SciPy suffice.
"""
