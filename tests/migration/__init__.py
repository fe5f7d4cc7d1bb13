"""Migrations, on every database that the ledger runs on."""
