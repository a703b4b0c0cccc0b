"""The documentation, and what generates the pages of it that the code already says."""
