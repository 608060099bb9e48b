"""Models of the protocols, small enough that every state they can come to is looked at."""
