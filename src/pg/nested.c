/* Nested loops by index; see nested.h. */
#include "pg/nested.h"

#include "utils/guc.h"

int
atp_nested_begin(void)
{
	static const char *const off[] = {"enable_hashjoin", "enable_mergejoin", "enable_seqscan", "enable_bitmapscan", "enable_material",
		"enable_memoize", "jit"};
	int			level = NewGUCNestLevel();

	for (int i = 0; i < lengthof(off); i++)
		(void) set_config_option(off[i], "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	return level;
}

void
atp_nested_end(int level)
{
	AtEOXact_GUC(true, level);
}
