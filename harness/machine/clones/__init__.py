"""Templates, the clones that begin where they were frozen, and pools of them."""
