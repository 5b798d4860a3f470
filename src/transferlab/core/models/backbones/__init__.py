"""Networks by name from torchvision, timm and this project, and their pretrained weights.

A family is one module; `registry` lists them. The rest of models and everything above may import this package.
"""
