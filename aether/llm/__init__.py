"""The language model and the embedder: what they are asked, and what they answer."""
