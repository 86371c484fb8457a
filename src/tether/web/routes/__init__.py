"""The routes, one file per role."""
