"""Regions of pages by a U-Net a quarter as wide.

    zoo train segmentation.unet_small --run runs/unet_small --data DATA

Trains on a laptop: the shipped weights came of two runs, of 385 and 900 steps, 34 minutes of one of two busy cores.
Their mIoU is 0.376 on docbank_pages/test, and the loss still fell.
"""

from dataclasses import replace

from recipes.segmentation.unet import RECIPE as UNET

RECIPE = replace(UNET, model="unet_small", real_share=0.5, size=(384, 384), batch=4, steps=10_000)
