"""Every loss as a loop over float64 numbers: slow, easy to check by eye, and the test of a new one.

A file bears the name of its loss and shares no code with the package under test. It holds:

- `DEFAULTS`: the parameters and their defaults, as the design says;
- `CASES`: the parameters under which the loss is tried, one for each option that changes it;
- `loop(x, y, **parameters)`: the loss, the number of its terms, and the share of the terms above 0
  (None where a term is never 0), for (B, D) numbers and (B,) labels;
- and, where they are so, `owned(loss)`, more arguments of the loop, of a loss with weights;
  `BY_DISTANCE = False`, for a loss that moves rows even where all of them coincide;
  `DOT_PRODUCTS = True`, for one of products of rows that may be long; `in_blocks(params)`,
  whether it takes a large batch in blocks; and `HELD = True`, for one whose gradient holds a part
  of the formula fixed: its loop takes the points of that part as another argument, `held`.
"""
