"""From trained weights to an embedding set; external embeddings in and out."""
