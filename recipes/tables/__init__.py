"""Recipes of networks that find the cells of tables."""
