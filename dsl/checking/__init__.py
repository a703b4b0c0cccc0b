"""The parts of checking a command file: keys, inputs, steps, parameters, references. `dsl.check` is the door."""
