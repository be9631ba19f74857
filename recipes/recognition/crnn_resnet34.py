"""A CRNN on residual blocks.

    zoo train recognition.crnn_resnet34 --run runs/crnn_resnet34 --data DATA

Not trained yet: no weights were released, and neither score nor hours are known. Meant for a GPU.
"""

from dataclasses import replace

from recipes.recognition.crnn_vgg16_bn import RECIPE as LARGE

RECIPE = replace(LARGE, model="crnn_resnet34")
