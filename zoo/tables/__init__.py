"""Where docTR keeps the weights of a builder's networks: one module each, named after the builder's.

`rows(options)` of a module yields our variable paths and their sources; `zoo.conversion` finds it by the card. Modules
without that function hold what several have in common: backbones, blocks.
"""
