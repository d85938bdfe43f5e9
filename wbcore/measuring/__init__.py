"""What is measured of models on data, chapter by chapter: readings, and the records made of them."""
