"""A small vision transformer that is read by CTC: for GPUs, where it is quicker than recurrent networks.

    zoo train recognition.viptr_tiny --run runs/viptr_tiny --data DATA

Not trained yet: no weights were released, and neither score nor hours are known.
"""

from dataclasses import replace

from recipes.recognition.crnn_mobilenet_v3_small import RECIPE as SMALL

RECIPE = replace(
    SMALL,
    model="viptr_tiny",
    batch=128,
    steps=60_000,
    rate=1e-3,
    warmup=2000,
    decay=5e-2,
    checkpoint_every=500,
    validate_every=2000,
    validation=2000,
)
