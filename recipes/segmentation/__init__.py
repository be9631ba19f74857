"""Recipes of networks that tell the class of each pixel."""
