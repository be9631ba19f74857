"""Recipes of pretraining: backbones learn from pictures without labels; see `recipes.pretrain`."""
