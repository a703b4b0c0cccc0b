"""The command file that `weir commands new` writes: it works as it is, and says what else could stand there."""

from __future__ import annotations

TEMPLATE = """\
# A Weir command. Save it, and it can be run at once: weir run {slug}
# Check it with: weir commands validate {slug}

slug: {slug}
name: {name}
version: 1.0.0
description: Says hello and keeps a note of it.

# What a caller gives. Each input is a JSON Schema; `required: true` and `default` say the rest.
#   weir run {slug} -i name=Ada -i times=2
inputs:
  name: {{type: string, minLength: 1, maxLength: 100, default: world}}
  times: {{type: integer, minimum: 1, maximum: 10, default: 1}}

# Steps run in order. Each sees `inputs` and, as `steps.ID.output`, what the steps before it made.
steps:
  # A template (Liquid) makes a text.
  - id: greet
    type: transform
    with:
      template: "Hello {{{{ inputs.name }}}}{{% if inputs.times > 1 %}} ({{{{ inputs.times }}}} times){{% endif %}}!"

  # A fragment is a record of your own: type, title, content, state, tags. See them with: weir fragments list
  - id: keep
    type: fragment.create
    if: inputs.name != 'world'          # a step whose condition is false is skipped
    with:
      type: note
      title: "{{{{ steps.greet.output }}}}"
      content: "Said by {{{{ execution.user }}}} at {{{{ now }}}}."
      tags: [hello]

  # What the caller gets.
  - id: answer
    type: respond
    with:
      value: "{{{{ steps.greet.output }}}}"
"""


def new_command(slug: str) -> str:
    """The text of a new command file."""
    return TEMPLATE.format(slug=slug, name=slug.replace(".", " ").replace("-", " ").replace("_", " ").capitalize())
