"""A vision transformer that reads all characters of a word at once: simple, quick on a GPU.

    zoo train recognition.vitstr_small --run runs/vitstr_small --data DATA

Not trained yet: no weights were released, and neither score nor hours are known. Meant for a GPU.
"""

from recipes.recipe import Recipe

RECIPE = Recipe(
    model="vitstr_small",
    task="recipes.recognition.task",
    real=("icdar15_words", "icdar15_scenes", "sroie", "docbank_pages", "tapus_fr_typewritten"),
    real_share=0.2,
    batch=192,
    steps=100_000,
    rate=5e-4,
    warmup=2000,
    easy=400_000,
    longest=20,
    decay=1e-2,
    clip=1.0,
    checkpoint_every=500,
    validate_every=2000,
    validation=2000,
)
