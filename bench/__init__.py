"""How repairs of sparse language models are compared: configuration, data, measurement, tables."""
