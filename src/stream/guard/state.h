/*
 * What the guard knows: whether it stands, which relations it seals, and whether a table may take rows that come past the append.
 *
 * It stands in a database that has the extension, unless atp.guard is off. It stands aside for the extension itself: its install
 * and update scripts, its functions (which run as atp_owner, see pg/query.h), pg_upgrade, and the single-user server.
 *
 * A relation of schema atp_internal is sealed when it is a member of the extension or carries the guard's trigger; everything in
 * schema atp is. What is not sealed yet is a table that a restore is making: pg_restore creates a leaf, attaches it, loads it,
 * and gives it its trigger last.
 */
#ifndef ATP_GUARD_STATE_H
#define ATP_GUARD_STATE_H

#include "postgres.h"

#define ATP_GUARD_TRIGGER "guard"

/* Whether changes are to be refused here and now. */
extern bool atp_guard_stands(void);

/* Whether the setting atp.allow_drop lets the extension go with its events. */
extern bool atp_guard_allows_drop(void);

/* Whether a schema is one of the two. */
extern bool atp_guard_is_schema(Oid schema);
extern bool atp_guard_is_schema_name(const char *name);

extern bool atp_guard_seals(Oid relation);
extern bool atp_guard_has_trigger(Oid relation);

/* Whether no leaf carries the trigger yet: the store is empty, or a restore is loading it. */
extern bool atp_guard_is_loading(void);

/*
 * Whether a table with the guard's trigger takes rows from INSERT or COPY: only while a restore is loading it. A leaf never does (it
 * gets its trigger when it is loaded); another table while it is empty, or while no leaf carries the trigger.
 */
extern bool atp_guard_takes_rows(Oid relation);

/* Whether the relation is one that holds events or their order, and has a row. Locks it in ACCESS SHARE mode. */
extern bool atp_guard_holds_events(Oid relation);

/* Whether any relation does. */
extern bool atp_guard_events_exist(void);
extern bool atp_guard_is_empty(Oid relation);

extern void atp_guard_state_init(void);

#endif
