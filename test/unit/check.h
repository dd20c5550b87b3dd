/*
 * What a unit test of the core is written with. A test is one function of many checks; `run_tests` prints what fails and, last,
 * "N passed, N failed". Deterministic: `draw` starts from a constant.
 */
#ifndef ATP_TEST_CHECK_H
#define ATP_TEST_CHECK_H

#include "core/hash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int	checks,
			faults;
static uint64_t seed = 1;

#define CHECK(condition) check(condition, #condition, __LINE__)

static inline void
check(bool holds, const char *what, int line)
{
	checks++;
	if (!holds && faults++ < 20)
		printf("line %d: %s\n", line, what);
}

static inline uint64_t
draw(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static inline void *
grow(void *context, void *memory, size_t size)
{
	(void) context;
	return realloc(memory, size);
}

static inline bool
same(const uint8_t *a, const uint8_t *b)
{
	return memcmp(a, b, ATP_HASH_SIZE) == 0;
}

typedef struct Test
{
	const char *name;
	void		(*run) (void);
} Test;

static inline int
run_tests(const Test *tests, int count)
{
	int			failed = 0;

	for (int i = 0; i < count; i++)
	{
		int			before = faults;

		checks = 0;
		tests[i].run();
		failed += faults > before;
		printf("%s %s: %d checks\n", faults > before ? "FAILED" : "passed", tests[i].name, checks);
	}
	printf("%d passed, %d failed\n", count - failed, failed);
	return failed != 0;
}

#endif
