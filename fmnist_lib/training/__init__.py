"""The training room: a module, batches and a recipe in; trained weights and a history out.

`recipes` say how, `loop.fit` does it. Beside the loop: `optimizers` move the weights, `precision` finds where bf16 is
right and fast, `devices` picks where to compute and `trial` holds a device to the CPU's numbers, `evaluation` measures,
and `parallel` lets several processes train together.
"""
