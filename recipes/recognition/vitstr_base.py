"""The vision transformer four times as large.

    zoo train recognition.vitstr_base --run runs/vitstr_base --data DATA

Not trained yet: no weights were released, and neither score nor hours are known. Meant for a GPU.
"""

from dataclasses import replace

from recipes.recognition.vitstr_small import RECIPE as SMALL

RECIPE = replace(SMALL, model="vitstr_base", batch=128, rate=2e-4, warmup=5000)
