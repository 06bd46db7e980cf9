"""The notebooks as a Colab runs them: `make test-colab`."""
