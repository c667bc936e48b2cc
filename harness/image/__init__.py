"""Recipes, and the images made or adopted by them."""
