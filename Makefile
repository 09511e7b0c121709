.PHONY: help lock test lint
help:            ## show this list
	@grep -E '^[a-z]+: +##|^[a-z]+:.*##' Makefile | sed 's/:.*##/\t/'
lock:            ## compile requirements/*.in to hash-pinned files without addresses
	@for name in runtime dev uv sdks; do uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-emit-find-links --no-header --no-annotate requirements/$$name.in -o requirements/$$name.txt; done
	@uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	  --no-header --no-annotate --no-deps requirements/local.in -o requirements/local.txt
test:            ## everything: lint, types, import contracts, tests
	@./bin/test
lint:            ## lint, types and import contracts alone
	@.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy && .venv/bin/lint-imports
