"""What the ledger promises, proven on every database that it runs on."""
