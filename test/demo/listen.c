/*
 * A consumer of the log as an application writes one: LISTEN, sleep until woken, read from the cursor. Says so for each wake-up, and sums
 * up when its standard input ends.
 *
 *	listen CONNINFO CHANNEL
 */
#include <libpq-fe.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Noreturn void
fail(PGconn *conn, const char *what)
{
	fprintf(stderr, "listen: %s: %s", what, PQerrorMessage(conn));
	exit(1);
}

/* Reads everything after the cursor; returns how many events that was. */
static long
read_on(PGconn *conn, char cursor[32])
{
	const char *values[1] = {cursor};
	PGresult   *result = PQexecParams(conn, "SELECT count(*), coalesce(max(log_position), $1::bigint) FROM atp.read_log($1::bigint, NULL)",
									  1, NULL, values, NULL, NULL, 0);
	long		count;

	if (PQresultStatus(result) != PGRES_TUPLES_OK)
		fail(conn, "read_log");
	count = atol(PQgetvalue(result, 0, 0));
	snprintf(cursor, 32, "%s", PQgetvalue(result, 0, 1));
	PQclear(result);
	return count;
}

int
main(int count, char **argument)
{
	PGconn	   *conn = PQconnectdb(count == 3 ? argument[1] : "");
	char		cursor[32] = "0";
	char		listen[100];
	long		wakes = 0;
	long		events;
	struct pollfd wait[2] = {{.fd = 0, .events = POLLIN}, {.events = POLLIN}};

	if (count != 3 || PQstatus(conn) != CONNECTION_OK)
		fail(conn, "usage: listen CONNINFO CHANNEL");
	snprintf(listen, sizeof(listen), "LISTEN %s", argument[2]);
	PQclear(PQexec(conn, listen));
	events = read_on(conn, cursor);
	printf("listening\n");
	fflush(stdout);
	wait[1].fd = PQsocket(conn);
	while (poll(wait, 2, -1) > 0 && wait[0].revents == 0)
	{
		PGnotify   *note;
		char		head[32] = "";

		if (!PQconsumeInput(conn))
			fail(conn, "connection");
		while ((note = PQnotifies(conn)) != NULL)
		{
			snprintf(head, sizeof(head), "%s", note->extra);
			PQfreemem(note);
		}
		if (head[0] != '\0')
		{
			wakes++;
			events += read_on(conn, cursor);
			printf("woken %ld: the log is at %s\n", wakes, head);
			fflush(stdout);
		}
	}
	events += read_on(conn, cursor);
	printf("sum %ld %ld\n", wakes, events);
	PQfinish(conn);
	return 0;
}
