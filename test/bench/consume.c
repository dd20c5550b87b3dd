/*
 * Consumers of a queue: so many processes, each of which takes batches for so many seconds, or until the queue is empty.
 *
 *	consume CONNINFO lease|plain|pgq CLIENTS SECONDS STATEMENT
 *
 * lease: the statement's argument is the lease of the batch before (its first column), or null; plain: it has none. pgq: STATEMENT is the
 * name of queue and consumer; a batch is what PgQ's ticks say. The clock starts when all of them are connected and have prepared their
 * statements. Prints events, batches and the seconds to the last event.
 */
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

typedef struct Tally
{
	long		events;
	long		batches;
	double		last;
} Tally;

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double) t.tv_sec + (double) t.tv_nsec / 1e9;
}

static PGresult *
checked(PGconn *connection, PGresult *result)
{
	ExecStatusType status = PQresultStatus(result);

	if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK)
	{
		fprintf(stderr, "consume: %s", PQerrorMessage(connection));
		exit(1);
	}
	return result;
}

/* One batch; the number of its events. */
static int
take(PGconn *connection, const char *mode, char *lease)
{
	const char *argument = lease[0] == '\0' ? NULL : lease;
	PGresult   *result = checked(connection, PQexecPrepared(connection, "take", mode[0] == 'l' ? 1 : 0, &argument, NULL, NULL, 0));
	int			count = PQntuples(result);

	if (mode[0] == 'l')
		snprintf(lease, 64, "%s", count > 0 ? PQgetvalue(result, 0, 0) : "");
	PQclear(result);
	return count;
}

static int
take_pgq(PGconn *connection)
{
	PGresult   *result = checked(connection, PQexecPrepared(connection, "next", 0, NULL, NULL, NULL, 0));
	char		batch[32];
	const char *argument = batch;
	int			count;

	if (PQgetisnull(result, 0, 0))
	{
		PQclear(result);
		return -1;
	}
	snprintf(batch, sizeof(batch), "%s", PQgetvalue(result, 0, 0));
	PQclear(result);
	result = checked(connection, PQexecPrepared(connection, "events", 1, &argument, NULL, NULL, 0));
	count = PQntuples(result);
	PQclear(result);
	PQclear(checked(connection, PQexecPrepared(connection, "finish", 1, &argument, NULL, NULL, 0)));
	return count;
}

typedef struct Gate				/* two pipes: who is there writes into one; the other is closed when all may go */
{
	int			there[2];
	int			open[2];
} Gate;

static void
pass(const Gate *gate)
{
	char		byte = 0;

	close(gate->open[1]);
	if (write(gate->there[1], &byte, 1) != 1)
		exit(1);
	close(gate->there[1]);
	while (read(gate->open[0], &byte, 1) > 0)
		;
}

/* Waits for all; false: some have ended. */
static int
open_gate(const Gate *gate, int count)
{
	char		byte;
	int			there = 0;

	close(gate->there[1]);
	while (read(gate->there[0], &byte, 1) > 0)
		there++;
	close(gate->open[1]);
	return there == count;
}

static void
consume(const char *conninfo, const char *mode, double seconds, const char *statement, const Gate *gate, Tally *tally)
{
	double		until;
	PGconn	   *connection = PQconnectdb(conninfo);
	char		lease[64] = "";
	char		sql[512];
	int			empty = 0;

	if (PQstatus(connection) != CONNECTION_OK)
	{
		fprintf(stderr, "consume: %s", PQerrorMessage(connection));
		exit(1);
	}
	if (strcmp(mode, "pgq") == 0)
	{
		snprintf(sql, sizeof(sql), "SELECT pgq.next_batch('%s', '%s')", statement, statement);
		PQclear(checked(connection, PQprepare(connection, "next", sql, 0, NULL)));
		PQclear(checked(connection, PQprepare(connection, "events", "SELECT * FROM pgq.get_batch_events($1)", 1, NULL)));
		PQclear(checked(connection, PQprepare(connection, "finish", "SELECT pgq.finish_batch($1)", 1, NULL)));
	}
	else
		PQclear(checked(connection, PQprepare(connection, "take", statement, 0, NULL)));
	pass(gate);
	until = now() + seconds;
	while (now() < until && empty < 5)
	{
		int			count = strcmp(mode, "pgq") == 0 ? take_pgq(connection) : take(connection, mode, lease);

		if (count > 0)
		{
			tally->events += count;
			tally->batches++;
			tally->last = now();
			empty = 0;
		}
		else if (count < 0 || strcmp(mode, "pgq") != 0)
			empty++;
	}
	PQfinish(connection);
}

int
main(int argc, char **argv)
{
	int			clients;
	double		started;
	Gate		gate;
	Tally	   *tallies;
	Tally		total = {0};
	int			failed = 0;

	if (argc != 6)
		return 2;
	clients = atoi(argv[3]);
	tallies = mmap(NULL, sizeof(Tally) * (size_t) clients, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (pipe(gate.there) != 0 || pipe(gate.open) != 0)
		return 1;
	for (int i = 0; i < clients; i++)
		if (fork() == 0)
		{
			consume(argv[1], argv[2], atof(argv[4]), argv[5], &gate, &tallies[i]);
			_exit(0);
		}
	failed = !open_gate(&gate, clients);
	started = now();
	for (int i = 0; i < clients; i++)
	{
		int			status;

		wait(&status);
		failed |= status;
	}
	for (int i = 0; i < clients; i++)
	{
		total.events += tallies[i].events;
		total.batches += tallies[i].batches;
		if (tallies[i].last > total.last)
			total.last = tallies[i].last;
	}
	printf("%ld %ld %.6f\n", total.events, total.batches, total.events > 0 ? total.last - started : 0.0);
	return failed != 0;
}
