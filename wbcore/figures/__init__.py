"""Figures of single chapters; what all of them share is in :mod:`wbcore.plots`."""
