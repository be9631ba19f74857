"""The small spotter: locates and reads text with one network, for laptops and phones.

zoo train spotting.ocrnet_mobilenet_v3_large --run runs/ocrnet --data DATA
    --start db_mobilenet_v3_large,crnn_mobilenet_v3_small.european
"""

from recipes.recipe import Recipe

RECIPE = Recipe(
    model="ocrnet_mobilenet_v3_large",
    task="recipes.spotting.task",
    real=("sroie", "icdar15_scenes", "docbank_pages", "tapus_fr_typewritten"),
    real_share=0.4,
    size=(320, 320),
    longest=20,
    together=0.15,
    widest=128,
    batch=4,
    steps=20_000,
    rate=1e-3,
    warmup=200,
    ema=0.998,
    checkpoint_every=100,
    validate_every=1000,
    validation=8,
)
