"""A CRNN on densely connected layers: few parameters, much memory.

    zoo train recognition.crnn_densenet121 --run runs/crnn_densenet121 --data DATA

Not trained yet: no weights were released, and neither score nor hours are known. Meant for a GPU.
"""

from dataclasses import replace

from recipes.recognition.crnn_vgg16_bn import RECIPE as LARGE

RECIPE = replace(LARGE, model="crnn_densenet121", batch=64)
