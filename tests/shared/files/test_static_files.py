"""Versions of static files, and the modules that a page needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.files.static_files import StaticFiles


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "chat").mkdir()
    (tmp_path / "app.css").write_text("a { color: red }")
    (tmp_path / "chat/app.js").write_text(
        'import { a } from "./store.js";\nimport {\n  b,\n  c,\n} from "../i18n.js";\nimport "./side.js";\n'
        'export { d } from "./store.js";\nconst later = () => import("./later.js"); // import x from "./no.js"\n'
    )
    for name in ("chat/store.js", "chat/side.js", "chat/later.js"):
        (tmp_path / name).write_text("export const a = 1;\n")
    (tmp_path / "i18n.js").write_text('import "./chat/app.js";\n')
    return tmp_path


def test_the_version_changes_with_each_file(folder: Path) -> None:
    before = StaticFiles(folder)
    assert StaticFiles(folder).version == before.version
    (folder / "chat/store.js").write_text("export const a = 2;\n")
    after = StaticFiles(folder)
    assert after.version != before.version
    assert after.split_version(after.path("app.css")) == ("app.css", True)
    assert after.split_version(before.path("chat/store.js")) == ("chat/store.js", False)
    assert after.split_version("chat/store.js") == ("chat/store.js", False)
    with pytest.raises(KeyError):
        after.path("missing.css")


def test_a_page_preloads_what_its_module_imports_but_not_what_it_may_need_later(folder: Path) -> None:
    assert StaticFiles(folder).modules("chat/app.js") == ["chat/app.js", "chat/store.js", "i18n.js", "chat/side.js"]


def test_an_import_of_a_missing_file_is_an_error(folder: Path) -> None:
    (folder / "i18n.js").write_text('import "./missing.js";\n')
    with pytest.raises(KeyError):
        StaticFiles(folder).modules("chat/app.js")


def test_each_form_of_a_file_has_its_own_etag(folder: Path) -> None:
    found = StaticFiles(folder).find("app.css")
    assert found is not None
    assert found.content_type == "text/css; charset=utf-8"
    assert len({found.etag(None), found.etag("br"), found.etag("gzip")}) == 3
    assert not found.is_ready("br")
    assert found.compressed("br") is found.compressed("br")
    assert found.is_ready("br")
