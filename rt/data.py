"""Batches: the sampler's arrays as tensors, with the attention plan, and the loader.

`Batch` names every array of `rustler.Sampler.contexts` (shapes there); `Batch.from_arrays` turns
the numpy dict into tensors and builds the attention plan, so that the training process never
waits for either.
"""
