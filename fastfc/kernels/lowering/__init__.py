"""The parts that kernels are made of: products, vectors, random numbers, views, the barrier."""
