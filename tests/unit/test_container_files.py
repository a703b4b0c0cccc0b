"""The readers of Dockerfiles and Compose files that other tests rely on."""

from __future__ import annotations

from datetime import timedelta

import pytest
from fixtures.compose import ComposeFault, interpolate, parse_duration, read_compose
from fixtures.dockerfile import DockerfileFault, is_ignored, read_dockerfile

SET = {"SET": "value", "EMPTY": ""}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$SET ${SET}", "value value"),
        ("$$SET $${SET}", "$SET ${SET}"),
        ("${EMPTY:-default} ${EMPTY-default} ${UNSET-default}", "default  default"),
        ("${SET:?said} ${EMPTY?said}", "value "),
        ("${UNSET}", ""),
        ("a $ b", "a $ b"),
    ],
)
def test_variables_are_replaced_as_the_specification_says(text: str, expected: str) -> None:
    assert interpolate({"key": [text]}, SET) == {"key": [expected]}


@pytest.mark.parametrize("text", ["${UNSET:?say it}", "${EMPTY:?say it}", "${UNSET?say it}"])
def test_a_variable_that_must_be_set_is_asked_for(text: str) -> None:
    with pytest.raises(ComposeFault, match="say it"):
        interpolate(text, SET)


def test_what_is_not_understood_of_a_compose_file_is_refused() -> None:
    with pytest.raises(ComposeFault, match="networks"):
        read_compose("services: {a: {image: b, networks: []}}\nvolumes: {}\n", {})
    with pytest.raises(ComposeFault):
        interpolate("${SET/a/b}", SET)


def test_durations_have_several_units() -> None:
    assert parse_duration("1m30s") == timedelta(seconds=90)
    with pytest.raises(ComposeFault):
        parse_duration("30")


def test_stages_hold_what_their_instructions_say() -> None:
    text = """
# a comment
FROM base:1 AS build
RUN one \\
    # in between
    && two
COPY a b /there/

FROM base:1
ENV PATH=/new:$PATH \\
    NAME="two words"
COPY --from=build /x /y
WORKDIR /srv
USER 10:10
VOLUME ["/data"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["program"]
CMD ["argument"]
"""
    build, final = read_dockerfile(text, {"PATH": "/old"})

    assert (build.name, build.runs, build.copies[0].sources) == ("build", ["one && two"], ("a", "b"))
    assert final.environment == {"PATH": "/new:/old", "NAME": "two words"}
    assert (final.copies[0].stage, final.copies[0].sources, final.copies[0].target) == ("build", ("/x",), "/y")
    assert (final.directory, final.user, final.volumes, final.stop_signal) == ("/srv", "10:10", ["/data"], "SIGTERM")
    assert (final.entrypoint, final.command) == (["program"], ["argument"])


@pytest.mark.parametrize(
    "text",
    [
        "FROM a\nHEALTHCHECK NONE",
        "FROM a\nCMD run it",
        "FROM a\nRUN <<END\nEND",
        "# escape=`\nFROM a",
        "RUN early",
        "FROM a\nRUN on \\",
        "FROM a\nCOPY --chown=1 b c",
        "FROM a\nENV NAME value",
        "",
    ],
)
def test_what_is_not_understood_of_a_dockerfile_is_refused(text: str) -> None:
    with pytest.raises(DockerfileFault):
        read_dockerfile(text, {})


def test_the_last_line_that_fits_decides_what_is_ignored() -> None:
    patterns = "*\n!api\n!README.md\n**/*.pyc\n"

    assert not is_ignored("api/cli/main.py", patterns)
    assert not is_ignored("README.md", patterns)
    assert is_ignored("api/cli/main.pyc", patterns)
    assert is_ignored(".env", patterns)
