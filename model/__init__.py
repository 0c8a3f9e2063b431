"""What training and serving share: schema, encoder, bundle, packed rows, fusion, and the networks."""
