# atp: `make help` lists the targets. src/build.mk builds, src/MANIFEST lists the parts, each suite is one program in test/.
PGV ?= 15
PG_CONFIG ?= /usr/lib/postgresql/$(PGV)/bin/pg_config
export PGV PG_CONFIG
SUITES = lint check-unit check-regress check-isolation check-pgtap check-tap check-upgrade check-docs check-growth check-fuzz
BUILD = all sql install uninstall clean
need = @src/tools/dependencies
.DEFAULT_GOAL = all

# Another release's server than Debian 12's, not installed here: everything happens in a root of that release.
ifeq ($(PGV)$(wildcard $(PG_CONFIG)),$(filter-out 15,$(PGV)))
$(BUILD) demo check $(SUITES) check-valgrind stress bench docs: ; @test/pgv $(PGV) $@
else

$(BUILD):        ; $(need) build && $(MAKE) --no-print-directory -f src/build.mk srcdir=. $@
demo:            ; $(need) demo && test/demo/run
check:           ; @test/check $(SUITES)
lint:            ; $(need) lint && src/tools/lint
check-unit:      ; $(need) test && test/unit/run
check-regress:   ; $(need) test && test/regress
check-isolation: ; $(need) test && test/isolation/run
check-pgtap:     ; $(need) test && test/pgtap
check-tap:       ; $(need) test && test/tap/run
check-upgrade:   ; $(need) test && test/upgrade/run
check-docs:      ; $(need) test && test/docs/run
check-growth:    ; $(need) test && test/growth/run
check-fuzz:      ; $(need) fuzz && test/fuzz/run
check-valgrind:  ; $(need) valgrind && test/valgrind/run
stress:          ; @ATP_LONG=1 test/check check-tap check-growth check-fuzz check-valgrind
bench:           ; $(need) bench && test/bench/run
docs:            ; $(need) test && src/tools/reference

endif
verifier:        ; $(need) verifier && mkdir -p bin && $(CC) -O2 -Isrc -o bin/atp-verify src/cli/atp-verify.c src/core/*.c -lcrypto -ljson-c
help:            ; @sed -n 's/^#: \{0,1\}//p' Makefile
.PHONY: $(BUILD) demo check $(SUITES) check-valgrind stress bench docs verifier help

#: all              build the extension and the command line tools (default)
#: install          install into the server of PG_CONFIG (default: Debian's PostgreSQL 15); also uninstall
#: verifier         build bin/atp-verify alone: no PostgreSQL, for auditors
#: demo             show the whole on this machine's own audit trail, in a throw-away cluster
#: check            run every suite; the last line is `N passed, N failed`
#: lint             check the tree without a server: floors, headers, warnings, budgets, generated files
#: check-unit       run the core against its judges, under sanitizers, without PostgreSQL
#: check-regress    run pg_regress over sql/: the readable contract of each stem
#: check-isolation  run the scripted races
#: check-pgtap      run pgTAP over test/*.sql: invariants and refusals
#: check-tap        run the staged crashes, restores and replicas
#: check-upgrade    compare upgraded, recreated and restored installs with a fresh one, by catalogs
#: check-docs       run the examples of the documents; compare docs/reference with what a live cluster says
#: check-growth     call the hot functions many times and watch the backend's memory
#: check-fuzz       mutate input to the parsers under ASan and UBSan, seeded and bounded
#: check-valgrind   run pg_regress with the backend under valgrind (slow; not part of check)
#: stress           run the long forms, seeded and bounded
#: bench            run all contestants and print the table
#: docs             generate docs/reference from a live cluster
#: sql              assemble the install script from its parts
#: clean            remove what was built
#: help             print this list
#:
#: PGV=17 or PGV=18 with any of these: in a debootstrap root of that release (needs root)
#: PG_CONFIG=path   another server
