"""A vision transformer for words, by filling in hidden patches (SimMIM).

zoo train pretraining.vitstr_small_masked --run runs/before --set target=PICTURES
zoo train recognition.vitstr_small --run runs/after --data DATA --start runs/before

Not run at its full length yet. Meant for a GPU.
"""

from recipes.recipe import Recipe

RECIPE = Recipe(
    model="vitstr_small",
    task="recipes.pretrain",
    adapt="masked",
    patch=(16, 16),
    hidden=0.6,
    batch=192,
    steps=50_000,
    rate=5e-4,
    warmup=2000,
    decay=5e-2,
    clip=1.0,
    checkpoint_every=500,
    validate_every=2000,
)
