"""What a machine is made of, and the domain XML that follows from it."""
