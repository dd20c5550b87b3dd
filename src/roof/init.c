/*
 * The roof: module load. _PG_init lists the initialisers of the rooms, ground floor first; each registers its own settings and
 * hooks. This is the only file that may know every room.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/guc.h"

#include "record/validator.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

void
_PG_init(void)
{
	atp_validator_init();
	MarkGUCPrefixReserved("atp");
}
