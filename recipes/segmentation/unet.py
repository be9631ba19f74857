"""Regions of pages by a U-Net.

    zoo train segmentation.unet --run runs/unet --data DATA

Not trained yet: no weights were released, and neither score nor hours are known. Meant for a GPU.
"""

from recipes.recipe import Recipe

RECIPE = Recipe(
    model="unet",
    task="recipes.segmentation.task",
    real=("docbank_pages",),
    real_share=0.1,
    size=(512, 512),
    batch=8,
    steps=40_000,
    rate=1e-3,
    warmup=1000,
    checkpoint_every=500,
    validate_every=2000,
    validation=100,
)
