"""Regions of pages by DeepLabV3: far sight on a dense map.

    zoo train segmentation.deeplabv3_resnet50 --run runs/deeplabv3_resnet50

Not trained yet: no weights were released, and neither score nor hours are known. Meant for a GPU.
"""

from dataclasses import replace

from recipes.segmentation.unet import RECIPE as UNET

RECIPE = replace(UNET, model="deeplabv3_resnet50", batch=8, rate=5e-4)
