"""The parts that kernels are made of: products, passes, vectors, random numbers, views, the barrier."""
