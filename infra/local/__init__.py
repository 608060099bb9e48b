"""The laptop's Azure: storage emulator, cost API simulator and function host."""
