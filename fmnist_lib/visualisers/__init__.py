"""The visualisers' room: looking inside any `nn.Module`, and showing what was seen.

`hooks` captures what layers give out, and `borrow` leaves a model as it was found. A `recorder` takes `measures` of a
model epoch by epoch; a `recording` is the file it leaves. `plots` draws arrays, `figures` draws a recording, and
`explorer` puts sliders over one.
"""
