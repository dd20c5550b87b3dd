# How PGXS builds atp from the stems of src/MANIFEST. Called by the Makefile, which keeps `check` and friends for itself:
# PGXS claims that name too, and can be read only where a server's development files are.
EXTENSION = atp
MODULE_big = atp
ATP_VERSION := $(shell sed -n "s/^default_version = '\(.*\)'/\1/p" atp.control)
DATA = atp--$(ATP_VERSION).sql $(wildcard upgrade/atp--*--*.sql)
STEMS := $(shell grep -v '^\#' src/MANIFEST)
OBJS := $(patsubst %.c,%.o,$(wildcard $(STEMS:%=src/%.c)))
PARTS := $(wildcard $(STEMS:%=src/%.sql))
TOOLS := $(patsubst src/cli/%.c,bin/%,$(wildcard src/cli/atp-*.c))
ifneq ($(TOOLS),)
SCRIPTS_built = $(TOOLS)
endif
PG_CPPFLAGS = -Isrc -DATP_VERSION=\"$(ATP_VERSION)\"
PG_CFLAGS = -std=gnu11 -Wall -Wextra -Werror -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers \
	-Wno-declaration-after-statement
SHLIB_LINK = -lcrypto -lpcre2-8 -lidn2
EXTRA_CLEAN = bin log test/unit/bin test/fuzz/bin

# Bitcode for the JIT would double the time to build, and inlines nothing here: the functions do their work below fmgr.
override with_llvm = no
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

# The hash of a fresh installation's manifest on this major version, which `make docs` wrote down; empty where it has not.
SERVER_MAJOR := $(shell $(PG_CONFIG) --version | sed 's/[^0-9]*\([0-9]*\).*/\1/')
MANIFEST_HASH := $(shell sed -n 's/^| $(SERVER_MAJOR) | `\([0-9a-f]*\)` |$$/\1/p' docs/reference/manifest.md 2>/dev/null)
src/tooling/selfmanifest.o: override CPPFLAGS += $(if $(MANIFEST_HASH),-DATP_MANIFEST_HASH=\"$(MANIFEST_HASH)\")
src/tooling/selfmanifest.o: $(wildcard docs/reference/manifest.md)

all sql: atp--$(ATP_VERSION).sql
$(OBJS): src/pg/errors.h src/build.mk $(wildcard src/*/*.h src/*/*/*.h)
src/pg/errors.h: src/errors.txt src/tools/errors
	src/tools/errors h >$@
atp--$(ATP_VERSION).sql: atp.control src/MANIFEST src/errors.txt $(PARTS) src/tools/assemble src/tools/errors src/tools/catalog $(wildcard src/record/catalog/*.json)
	src/tools/assemble >$@.new && mv $@.new $@
bin/%: src/cli/%.c $(filter src/core/%,$(OBJS))
	@mkdir -p bin
	$(CC) $(CFLAGS) $(CPPFLAGS) -I$(shell $(PG_CONFIG) --includedir) -o $@ $^ -L$(shell $(PG_CONFIG) --libdir) -Wl,--as-needed -lcrypto -ljson-c -lpq
.PHONY: sql
