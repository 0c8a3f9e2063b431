"""Events as training sees them: the joined log. Knows neither networks nor the service."""
