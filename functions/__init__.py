"""The triggers: one thin module each. They hold bindings and nothing else; the engine is in `shared`.

Each imports its step when its first message comes: the host indexes all of them in a fraction of the time that the
engine takes to load, and a process that is started to say what it has need not load it at all.
"""
