/* The doctor's eyes in C; see doctor.h. */
#include "postgres.h"

#include "tooling/doctor.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(atp_doctor_library_version);
PG_FUNCTION_INFO_V1(atp_doctor_library_is_preloaded);

static bool preloaded = false;

void
atp_doctor_init(void)
{
	preloaded = process_shared_preload_libraries_in_progress;
}

/* library_version() */
Datum
atp_doctor_library_version(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(ATP_VERSION));
}

/* library_is_preloaded() */
Datum
atp_doctor_library_is_preloaded(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(preloaded);
}
