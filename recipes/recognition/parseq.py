"""A transformer that learns to read in any order: the most exact of the recognizers, by the paper's tables.

    zoo train recognition.parseq --run runs/parseq --data DATA

Not trained yet: no weights were released, and neither score nor hours are known. Meant for a GPU.
"""

from dataclasses import replace

from recipes.recognition.vitstr_small import RECIPE as VITSTR

RECIPE = replace(VITSTR, model="parseq", options={"teacher": True}, batch=128, rate=7e-4, warmup=3000)
