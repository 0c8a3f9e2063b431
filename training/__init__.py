"""The offline side: logs in, bundles and packed features out."""
