/*
 * How long from an append to the moment when a consumer has the event. One process appends at a steady, jittered rate; another consumes the
 * subscription: claims, acks with the next claim, and waits when there is nothing. Every moment is written down as it passes.
 *
 *	deliver CONNINFO RATE SECONDS SQL SUBSCRIPTION listen|wait
 *
 * SQL returns one text, the id of the event. listen: the consumer waits for a notification on its connection; wait: in
 * atp.wait_for_events. Output, times in microseconds on one monotonic clock:
 *	append KEY SENT ACKNOWLEDGED
 *	notify KEY RECEIVED
 */
#include <libpq-fe.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LINGER 2000000			/* how long the consumer goes on after the last append */

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
	fprintf(stderr, "deliver: %s: %s", what, PQerrorMessage(conn));
	exit(1);
}

static PGconn *
connect_to(const char *conninfo)
{
	PGconn	   *conn = PQconnectdb(conninfo);

	if (PQstatus(conn) != CONNECTION_OK)
		fail(conn, "connect");
	return conn;
}

static void
prepare(PGconn *conn, const char *name, const char *sql)
{
	PGresult   *result = PQprepare(conn, name, sql, 0, NULL);

	if (PQresultStatus(result) != PGRES_COMMAND_OK)
		fail(conn, sql);
	PQclear(result);
}

static PGresult *
execute(PGconn *conn, const char *name, int count, const char *const *arguments)
{
	PGresult   *result = PQexecPrepared(conn, name, count, arguments, NULL, NULL, 0);

	if (PQresultStatus(result) != PGRES_TUPLES_OK && PQresultStatus(result) != PGRES_COMMAND_OK)
		fail(conn, name);
	return result;
}

static void
await_notification(PGconn *conn, int64_t until)
{
	struct pollfd socket = {PQsocket(conn), POLLIN, 0};
	PGnotify   *note;
	int64_t		at = now();

	if (until > at)
		poll(&socket, 1, (int) ((until - at) / 1000 + 1));
	if (!PQconsumeInput(conn))
		fail(conn, "listen");
	while ((note = PQnotifies(conn)) != NULL)
		PQfreemem(note);
}

static void
consume(const char *conninfo, int64_t until, const char *subscription, bool listen)
{
	PGconn	   *conn = connect_to(conninfo);
	char		lease[64] = "";
	const char *arguments[2] = {subscription, NULL};

	prepare(conn, "claim", "SELECT lease, event_id FROM atp.claim_events($1, 100, 'deliver', $2::uuid)");
	prepare(conn, "wait", "SELECT atp.wait_for_events($1, '200 ms')");
	if (listen)
		PQclear(PQexec(conn, "LISTEN atp"));
	while (now() < until)
	{
		PGresult   *result;
		int64_t		at;

		arguments[1] = lease[0] == '\0' ? NULL : lease;
		result = execute(conn, "claim", 2, arguments);
		at = now();
		for (int i = 0; i < PQntuples(result); i++)
			printf("notify %s %lld\n", PQgetvalue(result, i, 1), (long long) at);
		snprintf(lease, sizeof(lease), "%s", PQntuples(result) > 0 ? PQgetvalue(result, 0, 0) : "");
		PQclear(result);
		if (lease[0] != '\0')
			continue;
		if (listen)
			await_notification(conn, until);
		else
			PQclear(execute(conn, "wait", 1, arguments));
	}
	PQfinish(conn);
}

static void
append(const char *conninfo, double rate, int64_t until, const char *sql)
{
	PGconn	   *conn = connect_to(conninfo);
	int64_t		period = (int64_t) (1000000 / rate);

	prepare(conn, "append", sql);
	while (now() < until)
	{
		PGresult   *result;
		int64_t		sent;

		usleep((useconds_t) (period / 2 + rand() % period));
		sent = now();
		result = execute(conn, "append", 0, NULL);
		printf("append %s %lld %lld\n", PQgetvalue(result, 0, 0), (long long) sent, (long long) now());
		PQclear(result);
	}
	PQfinish(conn);
}

static char lines[1 << 26];

int
main(int argc, char **argv)
{
	int64_t		until;
	int			status = 0;

	if (argc != 7)
	{
		fprintf(stderr, "usage: deliver CONNINFO RATE SECONDS SQL SUBSCRIPTION listen|wait\n");
		return 2;
	}
	setvbuf(stdout, lines, _IOFBF, sizeof(lines));	/* each writes its lines out at its end, the consumer first */
	until = now() + (int64_t) (atof(argv[3]) * 1000000);
	if (fork() == 0)
	{
		consume(argv[1], until + LINGER, argv[5], strcmp(argv[6], "listen") == 0);
		return 0;
	}
	append(argv[1], atof(argv[2]), until, argv[4]);
	wait(&status);
	return status == 0 ? 0 : 1;
}
