"""A document that does not come true is found out, at its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.examples.walkthrough import Mismatch, walk_through

COMES_TRUE = """\
# A document

```
a drawing
```

```python
# said.py
print("it was said at 12:31")
```

```bash
mkdir -p below; cd below
python ../said.py; printf 'without a line break'
```

```text
it was   said at …
without a line break
```

```bash background
sh -c 'echo listens on 8080; exec sleep 60'
```

```text background
listens on 8080
```

<!-- not run: it fails -->
```bash
false
```

```bash
test "$(basename "$PWD")" = below
```
"""


def test_given_a_document_that_comes_true_then_it_is_walked_to_its_end(tmp_path: Path) -> None:
    walk(COMES_TRUE, tmp_path)


@pytest.mark.parametrize(
    ("said", "instead", "line"),
    [
        ("# said.py\n", "", 7),
        ("cd below", "cd nowhere", 12),
        ("at 12:31", "never", 17),
        ("without a line break\n", "", 17),
        ("= below", "= above", 35),
        ("```bash\ntest", "```ruby\ntest", 35),
    ],
)
def test_given_a_document_that_is_wrong_somewhere_then_the_line_is_named(
    said: str, instead: str, line: int, tmp_path: Path
) -> None:
    with pytest.raises(Mismatch, match=rf"document\.md, line {line}: "):
        walk(COMES_TRUE.replace(said, instead, 1), tmp_path)


def test_given_another_terminal_that_prints_something_else_then_what_it_printed_is_shown(tmp_path: Path) -> None:
    document = "```bash background\nsh -c 'echo one; echo two'\n```\n\n```text background\ntwo\nthree\n```\n"
    with pytest.raises(Mismatch, match=r"line 5: (.|\n)*three(.|\n)*one\ntwo"):
        walk(document, tmp_path)


def test_given_a_command_that_ends_badly_at_control_c_then_that_is_found_out(tmp_path: Path) -> None:
    command = "python -uc 'import time; print(\"up\"); time.sleep(60)'"
    document = f"```bash background\n{command}\n```\n\n```text background\nup\n```\n\n<!-- Ctrl-C -->\n"
    with pytest.raises(Mismatch, match=r"line 9: it ended with exit code "):
        walk(document, tmp_path)


def walk(text: str, directory: Path) -> None:
    document = directory / "document.md"
    document.write_text(text)
    walk_through(document, directory, 8081)
