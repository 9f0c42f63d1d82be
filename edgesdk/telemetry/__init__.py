"""What a worker shows of itself to people and their tools; none of it decides anything."""
