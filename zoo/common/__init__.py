"""What every room needs and none owns; knows nothing of networks, and needs no JAX."""
