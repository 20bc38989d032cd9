"""Word problems of two to four steps, answered as GSM8K is: steps with equations, then ``####`` and the number.

The written steps are mostly a matter of taste; few of their tokens decide the answer. That is what the bundled pair of a
small and a large model (``pocket:pair_small``, ``pocket:pair_large``) is for.
"""
