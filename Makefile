.PHONY: help setup hooks quick lint test migration messages lock
help:            ## show this list
	@grep -E '^[a-z]+: +##|^[a-z]+:.*##' Makefile | sed 's/:.*##/\t/'
setup:           ## create .venv with everything the tests need
	@./bin/setup dev
hooks:           ## run style and import checks on every commit
	@.venv/bin/pre-commit install
quick:           ## style, types, import contracts and the quick tests
	@$(MAKE) --no-print-directory lint && .venv/bin/python -m pytest -n 2 -m quick
lint:            ## style, types and import contracts
	@.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy && .venv/bin/lint-imports
test:            ## everything: style, types, import contracts and all tests
	@./bin/test
migration:       ## create the next migration: make migration NAME=add_channel_note
	@[ "$(NAME)" ] || { echo "usage: make migration NAME=add_channel_note"; exit 2; }
	@.venv/bin/python -m migrations "$(NAME)"
messages:        ## add new texts of pages to the catalogs of translations
	@.venv/bin/python -m shared.locale
lock:            ## compile requirements/*.in to hash-pinned files without addresses
	@for name in runtime dev uv sdks; do uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-emit-find-links --no-header --no-annotate requirements/$$name.in -o requirements/$$name.txt; done
	@uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	  --no-header --no-annotate -c requirements/runtime.txt requirements/otel.in -o requirements/otel.txt
	@uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	  --no-header --no-annotate --no-deps requirements/local.in -o requirements/local.txt
