"""The ranking service: a bundle, a feature store and a fusion config behind HTTP. Knows no training."""
