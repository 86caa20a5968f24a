"""The network: tensors in, tensors out. No files, no devices chosen here, no state that changes a result.

Shape legend, used in every comment of this package: B batch (objects or images), N points, T tokens, M masks,
C channels of the model (``hidden_dim``), Cm channels of a memory, H W pixels, h w cells of the stride-16 embedding,
S pixels per side of the model's input.
"""
