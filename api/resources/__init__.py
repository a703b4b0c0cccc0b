"""The nouns of the REST API, one blueprint each."""
