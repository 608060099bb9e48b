"""The provider's quota: how many requests may be made, and when the next one may go out."""
