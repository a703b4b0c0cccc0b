"""What step types say of themselves: the one source of the reference page, `weir steps` and editors' help."""
