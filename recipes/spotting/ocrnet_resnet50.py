"""The large spotter: locates and reads text with one network, for servers.

zoo train spotting.ocrnet_resnet50 --run runs/ocrnet_resnet50 --data DATA

Not trained yet: no weights were released, and neither score nor hours are known. Meant for a GPU.
"""

from dataclasses import replace

from recipes.spotting.ocrnet_mobilenet_v3_large import RECIPE as SMALL

RECIPE = replace(SMALL, model="ocrnet_resnet50", size=(640, 640), batch=16, steps=100_000, rate=5e-4, warmup=2000)
