"""Where docTR keeps the weights of a builder's networks: one module each, named after the builder's.

`rows(options)` of a module yields our variable paths and their sources; `recipes.convert` finds it by the card.
"""
