/*
 * The roof: module load. _PG_init lists the initialisers of the rooms, ground floor first; each registers its own settings and
 * hooks. This is the only file that may know every room.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/guc.h"

#include "log/sequencer.h"
#include "pg/worker.h"
#include "stream/append.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

void
_PG_init(void)
{
	atp_worker_init();
	atp_sequencer_init();
	atp_worker_add_job("tick", 0, atp_sequencer_work);
	MarkGUCPrefixReserved("atp");
}
