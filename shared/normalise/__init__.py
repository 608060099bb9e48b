"""From the provider's text to records: exact amounts, identities, contents and digests."""
