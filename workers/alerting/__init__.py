"""What makes alerts happen: probes of this installation, the evaluator, and who carries messages to channels."""
