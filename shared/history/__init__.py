"""What was believed at another time: read from the published files alone, as anybody could who has them."""
