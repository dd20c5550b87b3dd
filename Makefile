# atp: see `make help`.
EXTENSION = atp
MODULE_big = atp
DATA = atp--1.0.sql
STEMS := $(shell grep -v '^\#' src/MANIFEST)
OBJS := $(patsubst %.c,%.o,$(wildcard $(STEMS:%=src/%.c)))
PG_CPPFLAGS = -I$(srcdir)/src
PG_CFLAGS = -Wall -Wextra -Werror -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers -Wno-declaration-after-statement -std=gnu11
SHLIB_LINK = -lcrypto -lpcre2-8 -lidn2
PG_CONFIG ?= /usr/lib/postgresql/$(PGV)/bin/pg_config
PGV ?= 15
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

$(OBJS): src/pg/errors.h
src/pg/errors.h: src/errors.txt src/tools/errors
	src/tools/errors h >$@
atp--1.0.sql: src/MANIFEST src/errors.txt $(wildcard $(STEMS:%=src/%.sql)) src/tools/assemble src/tools/errors
	src/tools/assemble >$@
all sql: atp--1.0.sql
.PHONY: sql
