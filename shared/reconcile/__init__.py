"""Reconciling: what the provider billed for a month against what its own scopes said of the invoices' days."""
