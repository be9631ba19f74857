"""The large detector: for servers, and to compare with others of this name.

    zoo train detection.db_resnet50 --run runs/db_resnet50 --data DATA

Not trained yet: no weights were released, and neither score nor hours are known. Meant for a GPU.
"""

from dataclasses import replace

from recipes.detection.db_mobilenet_v3_large import RECIPE as SMALL

RECIPE = replace(
    SMALL,
    model="db_resnet50",
    size=(640, 640),
    batch=8,
    steps=40_000,
    rate=5e-4,
    warmup=500,
    ema=0.999,
    checkpoint_every=500,
    validate_every=2000,
    validation=40,
)
