"""Looking at a trained run: nearest neighbours, distances of two images, maps of its embeddings."""
