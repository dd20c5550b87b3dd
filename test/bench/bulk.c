/*
 * Sends the same large statement over and over on one connection, as fast as it is answered: what pgbench cannot do, whose
 * parameters must fit on a command line and which knows no COPY.
 *
 *	bulk CONNINFO SECONDS SQL FILE...
 *
 * The files are the parameters $1, $2 … of the prepared SQL; if SQL is a COPY FROM STDIN there is one file, its data. Each run
 * of 16 # in a file is overwritten before every execution by 16 digits that grow and never come again (also not in a later run:
 * they start at the clock), for ids and versions. Prints executions and seconds.
 */
#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define MARK "################"
#define DIGITS 16
#define MAX_FILES 8

typedef struct Param
{
	char	   *text;
	int			size;
	char	  **marks;
	int			nmarks;
} Param;

static int64_t
now(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (int64_t) t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static _Noreturn void
fail(const char *what, const char *why)
{
	fprintf(stderr, "bulk: %s: %s\n", what, why);
	exit(1);
}

static Param
read_param(const char *path)
{
	FILE	   *file = fopen(path, "rb");
	Param		param = {0};
	long		size;

	if (file == NULL || fseek(file, 0, SEEK_END) != 0 || (size = ftell(file)) < 0)
		fail(path, "cannot be read");
	rewind(file);
	param.size = (int) size;
	param.text = calloc((size_t) size + 1, 1);
	param.marks = calloc((size_t) size / DIGITS + 1, sizeof(char *));
	if (param.text == NULL || param.marks == NULL || fread(param.text, 1, (size_t) size, file) != (size_t) size)
		fail(path, "cannot be read");
	fclose(file);
	for (char *at = param.text; (at = strstr(at, MARK)) != NULL; at += DIGITS)
		param.marks[param.nmarks++] = at;
	return param;
}

static void
renumber(Param *param, int64_t *counter)
{
	for (int i = 0; i < param->nmarks; i++)
	{
		char		digits[DIGITS + 8];

		snprintf(digits, sizeof digits, "%016lld", (long long) (*counter)++);
		memcpy(param->marks[i], digits, DIGITS);
	}
}

static void
execute(PGconn *conn, const char *sql, const Param *params, int nparams, bool copy)
{
	const char *values[MAX_FILES];
	PGresult   *result;

	for (int i = 0; i < nparams; i++)
		values[i] = params[i].text;
	result = copy ? PQexec(conn, sql) : PQexecPrepared(conn, "bulk", nparams, values, NULL, NULL, 0);
	if (PQresultStatus(result) == PGRES_COPY_IN)
	{
		PQclear(result);
		if (PQputCopyData(conn, params[0].text, params[0].size) != 1 || PQputCopyEnd(conn, NULL) != 1)
			fail(sql, PQerrorMessage(conn));
		result = PQgetResult(conn);
	}
	if (PQresultStatus(result) != PGRES_COMMAND_OK && PQresultStatus(result) != PGRES_TUPLES_OK)
		fail(sql, PQerrorMessage(conn));
	PQclear(result);
	while ((result = PQgetResult(conn)) != NULL)
		PQclear(result);
}

int
main(int argc, char **argv)
{
	Param		params[MAX_FILES];
	int			nparams = argc - 4;
	bool		copy;
	PGconn	   *conn;
	int64_t		counter = now(CLOCK_REALTIME);
	int64_t		start;
	int64_t		end;
	long		executions = 0;

	if (nparams < 1 || nparams > MAX_FILES)
	{
		fprintf(stderr, "usage: bulk CONNINFO SECONDS SQL FILE...\n");
		return 2;
	}
	for (int i = 0; i < nparams; i++)
		params[i] = read_param(argv[4 + i]);
	copy = strncasecmp(argv[3], "COPY", 4) == 0;
	conn = PQconnectdb(argv[1]);
	if (PQstatus(conn) != CONNECTION_OK)
		fail("connect", PQerrorMessage(conn));
	if (!copy)
	{
		PGresult   *result = PQprepare(conn, "bulk", argv[3], 0, NULL);

		if (PQresultStatus(result) != PGRES_COMMAND_OK)
			fail(argv[3], PQerrorMessage(conn));
		PQclear(result);
	}
	start = now(CLOCK_MONOTONIC);
	end = start + (int64_t) (atof(argv[2]) * 1000000);
	do
	{
		for (int i = 0; i < nparams; i++)
			renumber(&params[i], &counter);
		execute(conn, argv[3], params, nparams, copy);
		executions++;
	} while (now(CLOCK_MONOTONIC) < end);
	printf("%ld %.6f\n", executions, (double) (now(CLOCK_MONOTONIC) - start) / 1e6);
	PQfinish(conn);
	return 0;
}
