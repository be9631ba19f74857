"""Recipes of networks that find the regions of pages."""
