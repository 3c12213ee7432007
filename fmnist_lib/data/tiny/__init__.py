"""Six hundred real images of Fashion-MNIST as four IDX files, so that tests and first steps need no download.

Made by scripts/make_tiny.py; read by `fmnist_lib.data.load(split, dataset="tiny")`. The images are Zalando's,
under the MIT licence: https://github.com/zalandoresearch/fashion-mnist
"""
