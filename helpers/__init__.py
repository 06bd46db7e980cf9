"""Plumbing shared by the notebooks; the algorithms themselves stand in the notebooks."""
