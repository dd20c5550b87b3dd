/* Rows that INSERT and COPY give to the view atp.events. */
#ifndef ATP_DOOR_ROWS_H
#define ATP_DOOR_ROWS_H

#include "postgres.h"

extern void atp_door_rows_init(void);

#endif
