"""From pointers and staged pages to what is published: ledger partitions, daily totals, manifests."""
