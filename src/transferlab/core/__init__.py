"""The science in pure PyTorch: this package never imports kedro."""
