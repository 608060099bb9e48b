"""What is to be read: groupings, windows of days and the times of the timer."""
