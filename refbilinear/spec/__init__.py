"""The specification: a bilinear layer, its training and its tensor, in readable NumPy.

Read the modules in the order of the data: layer, mlp, loss, optim, train, packed, tensor. Nothing
here imports anything else of the package, and everything polynomial is exact on exact numbers.
"""
