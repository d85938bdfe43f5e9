"""What is recorded for the book: subjects, data and settings of every artefact, in cells of one file each."""
