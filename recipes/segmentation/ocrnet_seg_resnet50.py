"""Regions of pages by OCRNet on a dense ResNet-50.

    zoo train segmentation.ocrnet_seg_resnet50 --run runs/ocrnet_seg_resnet50

Not trained yet: no weights were released, and neither score nor hours are known. Meant for a GPU.
"""

from dataclasses import replace

from recipes.segmentation.unet import RECIPE as UNET

RECIPE = replace(UNET, model="ocrnet_seg_resnet50", batch=8, rate=5e-4)
