/*
 * claim_events in FROM, without the table that PostgreSQL makes of the result of every function there: a scan of its own, which hands
 * out each event as it reads it and leaves out the columns that the query does not name. It takes the place of the scan of the function
 * where the arguments are constants or parameters of the statement; everywhere else the function runs, with the same result.
 */
#ifndef ATP_CLAIMSCAN_H
#define ATP_CLAIMSCAN_H

extern void atp_claimscan_init(void);

#endif
