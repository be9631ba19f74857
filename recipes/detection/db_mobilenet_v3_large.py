"""The default detector: small, for laptops and phones.

zoo train detection.db_mobilenet_v3_large --run runs/db_mobilenet --data DATA

The shipped weights came of eight shorter runs of it, each from where the last one ended, as the card says: 1000 steps
on crops of 384 pixels, 800 and 2000 on crops of 256, 3000 and twice 1900 of three crops of 320, and 4000 and 1500 of
four crops of 384; about ten hours on two busy cores. Of the last one, whose synthetic pages were half of them reports
with charts, they have four fifths. A whole run of these settings has not been made yet.
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
