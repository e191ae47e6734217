"""What a detector is worth beyond the table by group: curves, damage, skin tone, many faces. Runs without torch."""
