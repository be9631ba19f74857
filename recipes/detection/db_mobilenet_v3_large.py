"""The default detector: small, for laptops and phones.

zoo train detection.db_mobilenet_v3_large --run runs/db_mobilenet --data DATA
"""

from recipes.recipe import Recipe

RECIPE = Recipe(
    model="db_mobilenet_v3_large",
    task="recipes.detection.task",
    real=("sroie", "icdar15_scenes", "docbank_pages", "tapus_fr_typewritten"),
    real_share=0.4,
    size=(384, 384),
    batch=4,
    steps=3000,
    rate=1e-3,
    warmup=100,
    ema=0.998,
    validate_every=1000,
    validation=8,
)
