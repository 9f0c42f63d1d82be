"""What a core was told, and when: written to a file (`file`), told to another core (`replay`)."""
