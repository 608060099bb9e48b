"""The triggers: one thin module each. They hold bindings and nothing else; the engine is in `shared`."""
