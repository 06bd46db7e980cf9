"""The pages and the notebooks in a real browser: `make test-browser`."""
