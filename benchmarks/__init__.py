"""Programs that measure, draw and write what the documents show."""
