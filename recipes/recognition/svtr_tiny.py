"""A small transformer of strips, read by CTC.

    zoo train recognition.svtr_tiny --run runs/svtr_tiny --data DATA

Not trained yet: no weights were released, and neither score nor hours are known. Meant for a GPU.
"""

from dataclasses import replace

from recipes.recognition.crnn_vgg16_bn import RECIPE as LARGE

RECIPE = replace(LARGE, model="svtr_tiny", rate=5e-4, warmup=2000, widest=128)
