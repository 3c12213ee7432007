"""The runs' room: a run is a model, a recipe and a seed, and all about it lies in one folder.

`launch` makes a whole run in one call, `own` the recipe of one of your own. `places` says where runs lie and where
they are computed; `checkpoint` keeps, resumes and loads a run, `storage` writes its files; `teacher` finds the answers
that a recipe learns from; `measure` evaluates and predicts; `record` makes recording and figures; `progress` shows a
training while it goes on; `sweep` makes many runs; `machine` describes where a number was measured.
"""
