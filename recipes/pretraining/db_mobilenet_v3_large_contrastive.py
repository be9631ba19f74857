"""The backbone of the default detector, by telling pages apart (SimCLR).

zoo train pretraining.db_mobilenet_v3_large_contrastive --run runs/before --set target=PAGES
zoo train detection.db_mobilenet_v3_large --run runs/after --data DATA --start runs/before

Without a target it takes synthetic pages. Not run at its full length yet. Meant for a GPU.
"""

from recipes.recipe import Recipe

RECIPE = Recipe(
    model="db_mobilenet_v3_large",
    task="recipes.pretrain",
    adapt="contrastive",
    size=(256, 256),
    batch=128,
    steps=10_000,
    rate=1e-3,
)
