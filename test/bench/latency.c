/*
 * How long from an append to the wake-up of a listener. One connection appends at a steady rate (jittered, so that it cannot
 * fall into step with a worker's ticks), another listens; both are served by one loop, and every moment is written down as it
 * passes. Which notification answers which append is for the reader of this output to find: a store may announce a head
 * position that covers many events.
 *
 *	latency CONNINFO CHANNEL RATE SECONDS SQL
 *
 * SQL returns one text, the key of the event. Output, times in microseconds on one monotonic clock:
 *	append KEY SENT ACKNOWLEDGED
 *	notify PAYLOAD RECEIVED
 */
#include <libpq-fe.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define LINGER 2000000			/* how long to wait for the last notifications */

static int64_t
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t) t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static _Noreturn void
fail(PGconn *conn, const char *what)
{
	fprintf(stderr, "latency: %s: %s", what, PQerrorMessage(conn));
	exit(1);
}

static PGconn *
connect_and_run(const char *conninfo, const char *name, const char *sql)
{
	PGconn	   *conn = PQconnectdb(conninfo);
	PGresult   *result;

	if (PQstatus(conn) != CONNECTION_OK)
		fail(conn, "connect");
	result = name ? PQprepare(conn, name, sql, 0, NULL) : PQexec(conn, sql);
	if (PQresultStatus(result) != PGRES_COMMAND_OK)
		fail(conn, sql);
	PQclear(result);
	return conn;
}

static void
take_notifications(PGconn *conn)
{
	PGnotify   *note;
	int64_t		at = now();

	if (!PQconsumeInput(conn))
		fail(conn, "listen");
	while ((note = PQnotifies(conn)) != NULL)
	{
		printf("notify %s %lld\n", note->extra, (long long) at);
		PQfreemem(note);
	}
}

/* Reads what the appending connection has to say. True: the append that was sent is finished. */
static bool
take_answer(PGconn *conn, int64_t sent)
{
	PGresult   *result;
	int64_t		at = now();

	if (!PQconsumeInput(conn))
		fail(conn, "append");
	while (!PQisBusy(conn))
	{
		if ((result = PQgetResult(conn)) == NULL)
			return true;
		if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1)
			fail(conn, "append");
		printf("append %s %lld %lld\n", PQgetvalue(result, 0, 0), (long long) sent, (long long) at);
		PQclear(result);
	}
	return false;
}

int
main(int argc, char **argv)
{
	char		listen[256];
	PGconn	   *listener;
	PGconn	   *writer;
	int64_t		period;
	int64_t		end;
	int64_t		due;
	int64_t		sent = 0;
	bool		busy = false;

	if (argc != 6)
	{
		fprintf(stderr, "usage: latency CONNINFO CHANNEL RATE SECONDS SQL\n");
		return 2;
	}
	snprintf(listen, sizeof listen, "LISTEN \"%s\"", argv[2]);
	listener = connect_and_run(argv[1], NULL, listen);
	writer = connect_and_run(argv[1], "append", argv[5]);
	period = (int64_t) (1000000 / atof(argv[3]));
	due = now() + period;
	end = due + (int64_t) (atof(argv[4]) * 1000000);

	for (;;)
	{
		struct pollfd sockets[2] = {{PQsocket(listener), POLLIN, 0}, {PQsocket(writer), POLLIN, 0}};
		int64_t		at = now();
		int64_t		until = due < end ? due : end + LINGER;

		if (at >= end + LINGER)
			break;
		if (at >= due && at < end && !busy)
		{
			sent = now();
			if (!PQsendQueryPrepared(writer, "append", 0, NULL, NULL, NULL, 0))
				fail(writer, "append");
			busy = true;
			due = sent + period / 2 + rand() % period;
			continue;
		}
		/* rounded up: waking a little late costs nothing, spinning up to the moment would take a core from the server */
		poll(sockets, 2, busy || until <= at ? 10 : (int) ((until - at) / 1000 + 1));
		if (sockets[0].revents)
			take_notifications(listener);
		if (sockets[1].revents && take_answer(writer, sent))
			busy = false;
	}
	PQfinish(writer);
	PQfinish(listener);
	return 0;
}
