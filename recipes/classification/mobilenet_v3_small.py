"""Single characters by the small MobileNetV3; trains on a laptop.

    zoo train classification.mobilenet_v3_small --run runs/mobilenet_v3_small

Not trained yet: no weights were released, and neither score nor hours are known.
"""

from recipes.recipe import Recipe

RECIPE = Recipe(
    model="mobilenet_v3_small",
    task="recipes.classification.task",
    batch=64,
    steps=20_000,
    rate=2e-3,
    warmup=500,
    validation=2000,
)
