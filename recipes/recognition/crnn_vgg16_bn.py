"""The large recognizer: for servers, and to compare with others of this name.

    zoo train recognition.crnn_vgg16_bn --run runs/crnn_vgg16_bn --data DATA

Not trained yet: no weights were released, and neither score nor hours are known. Meant for a GPU.
"""

from dataclasses import replace

from recipes.recognition.crnn_mobilenet_v3_small import RECIPE as SMALL

RECIPE = replace(
    SMALL,
    model="crnn_vgg16_bn",
    batch=128,
    steps=60_000,
    rate=5e-4,
    warmup=1000,
    checkpoint_every=500,
    validate_every=2000,
    validation=2000,
)
