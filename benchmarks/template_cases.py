"""Templates that try to run away, and the values they are let loose on. Used by the benchmark and by tests."""

from __future__ import annotations

from functools import lru_cache
from random import Random
from typing import Any

from dsl.expressions import Compiler
from dsl.settings import DslSettings

#: Characters of a template that is tried.
MAX_TEMPLATE = 10_000

_MILLION = 1 << 20
_EMOJI = "\N{GRINNING FACE}"


@lru_cache(maxsize=1)
def scope() -> dict[str, Any]:
    """Inputs as large as an execution may have, in many shapes."""
    rows = [{"id": index, "t": f"title {index % 97}", "n": index * 1.5, "k": None} for index in range(20_000)]
    return {
        "inputs": {
            "ascii": "lorem ipsum " * (_MILLION // 12),
            "same": "a" * _MILLION,
            "emoji": "\N{GRINNING FACE}" * _MILLION,
            "wide": "a" * (_MILLION - 1) + "\N{GRINNING FACE}",
            "sharp": "\N{LATIN SMALL LETTER SHARP S}" * (_MILLION // 2),
            "spaces": " a" * (_MILLION // 2),
            "lines": "ab\n" * (_MILLION // 3),
            "quotes": "\"'&<>" * (_MILLION // 5),
            "control": "\x01" * _MILLION,
            "html": "<a>b" * (_MILLION // 4),
            "percent": "%41%" * (_MILLION // 4),
            "ligatures": "\N{ARABIC LIGATURE SALLALLAHOU ALAYHE WASALLAM}" * 200_000,
            "entities": "&#x41;&amp;" * 90_000,
            "digits": "9" * 4000,
            "small": "abc",
            "empties": "[" + "[]," * 300_000 + "0]",
            "mappings": "[" + '{"":0},' * 140_000 + "0]",
            "numbers": "[" + "1," * 500_000 + "1]",
            "deep": "[" * 60 + "]" * 60,
            "huge": "a" * (8 * _MILLION) + _EMOJI,
            "white": " " * _MILLION,
            "controls": "\x01" * (_MILLION - 1) + _EMOJI,
            "marks": '"' * (_MILLION - 1) + _EMOJI,
            "letters": "".join(map(chr, [*range(0x3400, 0xA000), *range(0x20000, 0x2A000)])),
            "codes": "&#999 " * 100_000 + _EMOJI,
            "objects": "[" + '{"":0},' * 18_000 + "0]",
            "needle": "a" * 500 + "b",
            "middle": "a" * 1000 + "b" + "a" * 4000,
            "similar": {"a": {"x" * _MILLION: 1}, "b": {"x" * (_MILLION - 1) + "x": 1}},
            "named": {"y" * 4000: {"z": [1]}},
            "endless": [1] * 4_000_000,
            "everyone": {f"k{index}": 1 for index in range(400_000)},
            "keys": [{"k": "A" * 50_000 + _EMOJI + str(index)} for index in range(100)],
            "words": ["A" * 50_000 + _EMOJI + str(index) for index in range(100)],
            "quoted": ["\N{LATIN SMALL LETTER E WITH ACUTE}" * 30_000 + _EMOJI],
            "list": list(range(100_000)),
            "texts": [f"text {index % 1000}" for index in range(50_000)],
            "long": ["x" * 100_000] * 80,
            "rows": rows,
            "keyed": [{"k": "x" * 50_000 + str(index)} for index in range(100)],
            "nested": [[[index] * 10] * 10 for index in range(1000)],
            "map": {f"key {index}": index for index in range(50_000)},
            "few": [3, 1, 2],
            "n": 7,
            "f": 1.5,
            "none": None,
        },
        "steps": {"a": {"output": {"items": rows[:100], "count": 100}}},
        "now": "2026-11-20T18:32:00.000000Z",
    }


TEXTS = tuple(f"inputs.{name}" for name, value in scope()["inputs"].items() if isinstance(value, str))
LISTS = (
    *("inputs.endless", "inputs.everyone", "inputs.similar", "inputs.keys", "inputs.words", "inputs.quoted"),
    *("inputs.list", "inputs.texts", "inputs.long", "inputs.rows", "inputs.keyed", "inputs.nested", "inputs.few"),
)
OTHERS = ("inputs.map", "inputs.n", "inputs.f", "inputs.none", "inputs", "inputs.nope", "'x'", "7", "1.5", "now")
SMALL = ("inputs.small", "inputs.few", "inputs.n", "'x'", "7", "i", "x", "y", "steps.a.output.items", "(1..9)", "now")
#: Arguments of filters that have an edge.
ARGUMENTS = (
    *("''", "' '", "'a'", "'t'", "'k'", "'n'", "'\\1'", "','", "'%A%B%-d'", "'%9999999Y'", "'inf'", "'1e999'", "'-'"),
    *("'(a+)+b'", "'(a|aa)*b'", "'[^x]*'", "'(?i)[a-z]+$'", "'.'", "'x{0,900}'", "'(?:x{1900})?'", "'()*'"),
    *("'[\\w.]+@'", "0", "1", "-1", "2", "15", "99999", "9999999999", "-9999999999", "0.0001", "-1.5", "nil", "true"),
)
VALUES = (*TEXTS, *LISTS, *OTHERS, "(1..9999)", "x", "y")


def _repeated(part: str, around: str = "{}") -> str:
    return around.format(part * ((MAX_TEMPLATE - len(around)) // len(part)))


def _loop(body: str, times: int = 9999) -> str:
    return f"{{% for i in (1..{times}) %}}{body}{{% endfor %}}"


def _sliced(length: int, start: int, count: int) -> str:
    """Python looks for `y` in `x` at every place, and finds out late that it is not there."""
    x, y = f"inputs.same | slice: 0, {length}", f"inputs.middle | slice: {start}, {count}"
    return f"{{% assign x = {x} %}}{{% assign y = {y} %}}"


#: By name; every one at most `MAX_TEMPLATE` characters.
ADVERSARIAL: dict[str, str] = {
    "a loop for ever": _loop(_loop("{{ i }}")),
    "a loop over everything": "{% for row in inputs.rows %}{% for key in row %}{{ key }}{% endfor %}{% endfor %}",
    "loops in a row": _repeated("{% for i in inputs.few %}{{ i }}{% endfor %}"),
    "nested loops": "{% for i in (1..9) %}" * 20 + "x" + "{% endfor %}" * 20,
    "a loop with a long body": _loop(_repeated("{{ i }}", "{}")[:9000]),
    "a loop with long conditions": _loop("{% if " + "i == 1 or " * 300 + "i %}{% endif %}"),
    "a loop with many words": _loop("{% if " + "not " * 400 + "i %}{% endif %}"),
    "a loop with long paths": _loop("{{ inputs.map" + ".x" * 1500 + " | default: 1 }}"),
    "a loop with nested paths": _loop("{{ inputs[" * 40 + "'a'" + "]" * 40 + " | default: 1 }}"),
    "a loop that is left at once": _loop("{% for j in (1..9999) %}{% break %}{% endfor %}"),
    "loops that skip": _loop("{% for j in inputs.list offset: 99999 %}{% endfor %}"),
    "loops that skip and go on": _loop("{% for j in inputs.list offset: continue limit: 1 %}{% endfor %}"),
    "loops backwards": _loop("{% for j in inputs.list reversed limit: 9 %}{% endfor %}"),
    "blank loops": _loop("{% if i %} {% if i %} {% endif %} {% endif %}"),
    "cases": _loop("{% case i %}" + "{% when 1, 2, 3, 4, 5, 6, 7, 8 %}" * 200 + "{% endcase %}"),
    "cases of large values": _loop("{% case inputs.same %}" + "{% when inputs.same %}" * 100 + "{% endcase %}"),
    "comparing texts": _loop("{% if inputs.same == inputs.wide %}{% endif %}"),
    "comparing with blank": _loop("{% if inputs.white == blank %}{% endif %}"),
    "comparing long keys": _loop("{% if inputs.similar.a == inputs.similar.b %}{% endif %}"),
    "a long name that is not there": _loop("{{ inputs[inputs.same] | default: 1 }}"),
    "a long name of a loop": _loop("{% for x in inputs['" + "y" * 4000 + "'].z %}{% endfor %}"),
    "names through many loops": "{% for a in (1..1) %}" * 28
    + "{% for a in (1..300) %}"
    + "{{ inputs.few }}{{ nope | default: 1 }}" * 60
    + "{% endfor %}" * 29,
    "loops around loops": "{% for a in (1..1) %}" * 20
    + _loop("{{ forloop" + ".parentloop" * 20 + ".index }}", 300)
    + "{% endfor %}" * 20,
    "everyone backwards": "{% for x in inputs.everyone reversed %}{% endfor %}",
    "a large piece of a text": "{{ inputs.huge | slice: 5, 9000000 | size }}",
    "a large piece of a list": "{{ inputs.endless | slice: 0, 4000000 | size }}",
    "pieces of a text": _loop("{{ inputs.huge | slice: 0, 1000000 | size }}"),
    "long numbers": _loop("{% if 'a' contains " + "9" * 4000 + " %}{% endif %}"),
    "long texts to find": _loop("{{ inputs.long | where: inputs.needle | size }}"),
    "sorting by long wide keys": "{{ inputs.keys | sort: 'k' | size }}{{ inputs.keys | sort_natural: 'k' | size }}",
    "unique wide things": "{{ inputs.keys | uniq | size }}{{ inputs.words | uniq | size }}",
    "wide arguments": "{% assign x = 'a' | replace: inputs.quoted, inputs.quoted | append: inputs.quoted %}",
    "wide JSON": "{{ inputs.few | to_json }}{% assign x = inputs.controls | slice: 9, 900000 %}{{ x | to_json }}",
    "wide marks": "{{ inputs.marks | slice: 300000, 780000 | escape | size }}",
    "JSON under many names": "".join(f"{{% assign a{i} = inputs.objects | from_json %}}" for i in range(9)),
    "ranges under many names": "".join(f"{{% assign a{i} = (1..9999) | reverse %}}" for i in range(50)),
    "everything at once": "{% assign a = inputs.controls | slice: 0, 500000 %}{{ inputs.controls | slice: 0, 400000 }}"
    "{% assign b = inputs.emoji | slice: 0, 400000 | escape_once %}{{ inputs.emoji | slice: 0, 200000 | upcase }}",
    "a large class": "{{ inputs.letters | regex_match: '[" + "".join(chr(0x100 + 2 * i) for i in range(480)) + "]' }}",
    "a large class of any case": "{{ inputs.letters | regex_match: '(?i)["
    + "".join(chr(0x100 + 2 * i) for i in range(470))
    + "]' }}",
    "a pattern that is large and matches nothing": "{{ inputs.same | regex_replace: '(?:x{1900})?', '' | size }}",
    "a pattern of many choices": "{{ inputs.same | regex_replace: '" + "x?" * 240 + "', '' | size }}",
    "a pattern with groups": "{{ inputs.same | regex_match: '" + "()" * 20 + "(?:(a))*b' }}",
    "a pattern of nothing": "{{ 'a' | regex_match: '(?:){99999999}' }}",
    "slugs": "{{ inputs.letters | slice: 0, 9000 | slug | size }}{{ inputs.ligatures | slice: 0, 9000 | slug | size }}",
    "codes": "{{ inputs.codes | slice: 0, 80000 | escape_once | size }}",
    "comparing lists": _loop("{% if inputs.nested == inputs.nested %}{% endif %}"),
    "comparing everything": _repeated("inputs == inputs and ", "{{% if {}true %}}{{% endif %}}")[:4000]
    + " true %}{% endif %}",
    "looking in texts": _loop("{% if inputs.same contains 'aaab' %}{% endif %}"),
    "looking for much in little": _sliced(2499, 200, 1401) + _loop("{% if x contains y %}{% endif %}"),
    "looking for little in more": _sliced(29999, 903, 99) + _loop("{% if x contains y %}{% endif %}"),
    "replacing much in little": _sliced(4999, 0, 3501) + _loop("{{ x | replace: y, 'z' | split: y | size }}"),
    "finding much in little": _sliced(2499, 200, 1401)
    + "{% assign x = x | append: ',' %}{% assign z = x | append: x | append: x | append: x | split: ',' %}"
    + _loop("{{ z | where: y | size }}"),
    "looking for lists": _loop("{% if inputs.long contains inputs.long %}{% endif %}"),
    "looking in lists": _loop("{% if inputs.list contains -1 %}{% endif %}"),
    "looking in ranges": _loop("{% if (1..9999) contains 1.5 %}{% endif %}"),
    "a list in a text": _loop("{% if inputs.small contains inputs.list %}{% endif %}"),
    "doubling by append": "{% assign x = 'aaaa' %}" + _loop("{% assign x = x | append: x %}", 30),
    "doubling by prepend": "{% assign x = 'aaaa' %}" + _loop("{% assign x = x | prepend: x %}", 30),
    "doubling by replace": "{% assign x = 'aaaa' %}" + _loop("{% assign x = x | replace: 'a', 'aaaa' %}", 30),
    "doubling by capture": "{% assign x = 'aaaa' %}" + _loop("{% capture x %}{{ x }}{{ x }}{% endcapture %}", 30),
    "doubling by concat": "{% assign x = inputs.few %}" + _loop("{% assign x = x | concat: x %}", 30),
    "doubling by join": "{% assign x = inputs.few %}" + _loop("{% assign x = x | join: x | split: '' %}", 30),
    "doubling without a loop": "{% assign x = inputs.same %}" + "{% assign x = x | append: x %}" * 300,
    "squaring": "{% assign x = 10 %}" + _loop("{% assign x = x | times: x %}", 100),
    "huge numbers": "{{ '" + "9" * 4000 + "' | times: '" + "9" * 4000 + "' }}",
    "numbers of many digits": _loop("{{ inputs.digits | plus: 0 }}"),
    "sums of many digits": "{{ inputs.digits | append: ',' | append: inputs.digits | split: ',' | sum }}",
    "floats": _loop("{{ inputs.f | times: 1.000001 | divided_by: 0.3 | modulo: 0.7 }}"),
    "a huge range": "{{ (1..1000000000000) | size }}",
    "ranges": _loop("{{ (1..9999) | reverse | first }}"),
    "a huge output": _loop("{{ inputs.same }}"),
    "a huge capture": "{% capture x %}" + _loop("{{ inputs.same }}") + "{% endcapture %}",
    "nested captures": "{% capture a %}{{ inputs.wide | slice: 0, 900000 }}" * 25 + "{% endcapture %}" * 25,
    "many captures": _repeated("{% capture a %}{{ inputs.emoji }}{% endcapture %}"),
    "many names": "".join(f"{{% assign a{index} = inputs.emoji | append: '' %}}" for index in range(180)),
    "many lists": "".join(f"{{% assign a{index} = inputs.texts | compact %}}" for index in range(180)),
    "texts in a list": "{{ inputs.emoji | split: '' | join: '' | split: '' | size }}",
    "splitting": "{{ inputs.spaces | split: ' ' | size }}",
    "splitting into letters": "{{ inputs.ascii | split: '' | size }}",
    "splitting by a long text": _loop("{{ inputs.same | split: inputs.small | size }}"),
    "the last of many": "{% assign x = inputs.same | slice: 9, 400000 | prepend: 'ab' %}"
    "{{ inputs.same | remove_last: x | replace_last: x, 'y' | size }}",
    "sorting texts": "{{ inputs.texts | sort | first }}",
    "sorting long texts": "{{ inputs.long | concat: inputs.long | sort | size }}",
    "sorting things": "{{ inputs.rows | sort: 't' | first }}",
    "sorting by long keys": "{{ inputs.keyed | sort: 'k' | size }}",
    "sorting by lists": "{{ inputs.rows | sort_natural | size }}",
    "sorting lists": "{{ inputs.nested | sort_natural | size }}",
    "unique things": "{{ inputs.rows | uniq | size }}",
    "unique texts": "{{ inputs.texts | uniq | size }}",
    "unique long texts": "{{ inputs.long | uniq | size }}",
    "finding": _loop("{{ inputs.rows | where: 't', 'nope' | size }}"),
    "finding by a large value": _loop("{{ inputs.rows | where: 't', inputs.same | size }}"),
    "finding by a list": _loop("{{ inputs.rows | find: 't', inputs.nested | size }}"),
    "finding what is no property": _loop("{{ inputs.texts | find_index: 'a', 'a' }}"),
    "many short loops": _loop("{% for j in (1..1) %}{% endfor %}{% for j in inputs.few offset: 9 %}{% endfor %}"),
    "finding in texts": "{{ inputs.long | where: 'y' | size }}",
    "mapping": _loop("{{ inputs.rows | map: 't' | size }}"),
    "flattening": _loop("{{ inputs.nested | compact | size }}"),
    "summing": _loop("{{ inputs.list | sum }}"),
    "everything as JSON": "{{ inputs | to_json }}",
    "a list as JSON": "{{ inputs.nested | to_json | size }}{{ inputs.rows | to_json | size }}",
    "control characters as JSON": "{{ inputs.control | split: '~' | to_json | size }}",
    "everything as text": "x{{ inputs }}",
    "everything native": "{{ inputs.rows | reverse }}",
    "JSON bomb of lists": "{{ inputs.empties | from_json | size }}",
    "JSON bomb of mappings": "{{ inputs.mappings | from_json | size }}",
    "JSON bomb of numbers": "{{ inputs.numbers | from_json | size }}",
    "JSON bombs that fit": "{% assign a = inputs.mappings | slice: 0, 189988 | append: '0]' | from_json %}" * 20,
    "JSON in a template": "{{ '" + "[" * 1000 + "]" * 1000 + "' | from_json }}",
    "deep JSON": "{% assign x = '" + "[" * 60 + "]" * 60 + "' | from_json %}" + _loop("{{ x }}"),
    "a pattern that hangs others": "{{ inputs.same | regex_match: '(a+)+b' }}",
    "another pattern that hangs others": "{{ inputs.same | regex_match: '(a|aa)*b' }}",
    "a pattern with many groups": "{{ inputs.same | regex_replace: '((((a)*)*)*)*b', '' }}",
    "a pattern with many states": "{{ inputs.same | regex_match: '" + "a?" * 200 + "a{200}b' }}",
    "a pattern with a class": "{{ inputs.ascii | regex_replace: '[aeiou]', '\\0\\0' }}",
    "a pattern on emoji": "{{ inputs.emoji | regex_match: '(?i).*[^x]+y' }}",
    "many patterns": "".join(f"{{{{ 'a' | regex_match: 'a{{{index}}}' }}}}" for index in range(300, 500)),
    "a pattern that matches nothing often": "{{ inputs.same | regex_replace: 'x*', 'ab' | size }}",
    "dates": _loop("{{ now | date: '" + "%A%B%Z" * 30 + "' }}"),
    "dates of lists": _loop("{{ inputs.rows | date | default: 1 }}"),
    "words": "{{ inputs.spaces | truncatewords: 600000 | size }}",
    "cutting": _loop("{{ inputs.emoji | slice: 1, 900000 | truncate: 800000 | size }}"),
    "a piece of everything": "{{ inputs | slice: 0, 5 }}",
    "a key that is everything": "{{ inputs.few | map: inputs | size }}{{ inputs.rows | sort: inputs | size }}",
    "a separator that is everything": "{{ inputs.few | join: inputs | size }}{{ inputs.same | split: inputs | size }}",
    "a number that is everything": "{{ 1 | plus: inputs.same }}{{ inputs.same | times: inputs }}",
    "a date that is everything": "{{ inputs | date: inputs.same }}",
    "a missing name": _loop("{{ inputs.nope | default: inputs.nope | default: '' }}"),
    "outputs": _repeated("{{ inputs.n }}"),
    "the shortest outputs": _repeated("{{1}}"),
    "filters": ("{{ 1 " + "| abs" * 600 + " }}") * 2,
    "arguments": "{{ 1 | default: " + ",".join(["1"] * 1500) + " }}",
    "conditions": _repeated("{% if 1 %}{% endif %}"),
    "else ifs": _repeated("{% elsif inputs.none %}", "{{% if inputs.none %}}{}{{% endif %}}"),
    "assignments": _repeated("{% assign x = 1 %}"),
    "ternaries": _repeated("{{ 1 if 2 else 3 }}"),
    "only text": "x" * MAX_TEMPLATE,
    "white space": "{{" + " " * (MAX_TEMPLATE - 6) + "1 }}",
    "open braces": "{{" * (MAX_TEMPLATE // 2),
    "open tags": "{%" * (MAX_TEMPLATE // 2),
    "open quotes": _repeated("{{ 'a "),
    "raw": _repeated("{% raw %}{{ x }}{% endraw %}"),
    "nesting": "{% if 1 %}" * 29 + "x" + "{% endif %}" * 29,
    **{
        f"{name} of large texts": "".join(
            f"{{{{ {text} | {name}{': 1' if name in ('split', 'truncate') else ''} | size }}}}" for text in TEXTS
        )
        for name in sorted(Compiler(DslSettings()).filters)
        if not name.startswith("regex")
    },
}


def random_template(chance: Random) -> str:
    """A template made of loops, names, filters and large inputs; at most `MAX_TEMPLATE` characters."""
    return _Writer(chance).template()


def random_condition(chance: Random) -> str:
    """A condition likewise."""
    return _Writer(chance).condition()


class _Writer:
    """Writes templates at random; whatever it writes can be parsed."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance
        self._filters = sorted(Compiler(DslSettings()).arguments.items())

    def template(self) -> str:
        text = "".join(self._block(0) for _ in range(self._chance.randrange(1, 6)))
        return text if len(text) <= MAX_TEMPLATE else f"{{{{ {self._expression()} }}}}"

    def _value(self) -> str:
        kind = self._chance.random()
        if kind < 0.03:
            return f"inputs[{self._chance.choice(TEXTS)}]"
        if kind < 0.06:
            return f"{self._chance.choice(VALUES)}.{self._chance.choice(('first', 'last', 'size', '__class__'))}"
        return self._chance.choice(SMALL if kind < 0.5 else VALUES)

    def _argument(self) -> str:
        return self._chance.choice(ARGUMENTS) if self._chance.random() < 0.6 else self._value()

    def _expression(self) -> str:
        text = self._value()
        for _ in range(self._chance.randrange(5)):
            name, (least, most) = self._chance.choice(self._filters)
            given = ", ".join(self._argument() for _ in range(self._chance.randint(least, most)))
            text += f" | {name}{': ' if given else ''}{given}"
        return text

    def condition(self) -> str:
        parts = [
            f"{self._value()} {self._chance.choice(('==', '!=', '<', '>=', 'contains'))} {self._argument()}"
            for _ in range(self._chance.choice((1, 1, 2, 9)))
        ]
        return self._chance.choice((" and ", " or ")).join(parts)

    def _block(self, depth: int) -> str:
        chance = self._chance
        kind = chance.randrange(9 if depth < 5 else 3)
        inner = self._block(depth + 1) * chance.choice((1, 1, 1, 2, 9)) if kind > 2 else ""
        after = self._block(depth + 1) if kind == 8 else ""
        options = chance.choice(("", "", " reversed", " limit: 3", " offset: 90000", " offset: continue limit: 2"))
        return {
            0: f"{{{{ {self._expression()} }}}}",
            1: f"{{% assign {chance.choice('xyz')} = {self._expression()} %}}",
            2: "text ",
            3: f"{{% for i in {self._value()}{options} %}}{inner}{{% endfor %}}",
            4: f"{{% for i in (1..{chance.choice((3, 30, 3000, 9999))}) %}}{inner}{{% endfor %}}",
            5: f"{{% if {self.condition()} %}}{inner}{{% else %}}n{{% endif %}}",
            6: f"{{% capture {chance.choice('xyz')} %}}{inner}{{% endcapture %}}",
            7: f"{{% case {self._value()} %}}{{% when {self._value()}, {self._argument()} %}}{inner}{{% endcase %}}",
            8: inner + after,
        }[kind]
