/*
 * atp-consume: a consumer of a subscription. Claims events, gives each to a command or writes it as a line of JSON, acks what succeeded
 * and nacks what failed.
 *
 * At least once: an event is acked after its command ended with 0, or after its line was written and flushed. A crash, or a lost
 * connection, in between has it delivered again, when the lease has expired. The lease is renewed while a command runs.
 *
 * Waiting: LISTEN on the channels atp and atp_<subscription>, and a look every --poll seconds in any case, because a notification is a
 * hint and a retry comes due without one. A lost connection is made again, with a growing delay.
 */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <libpq-fe.h>

#define UUID_TEXT 37
#define MAX_DELAY_MS 30000

enum							/* exit codes */
{
	EXIT_DONE = 0, EXIT_USAGE = 1, EXIT_SERVER = 2, EXIT_OUTPUT = 3
};

static const struct
{
	const char *text;
}			usage = {
	"Consumes the events of a subscription of atp.\n\n"
	"  atp-consume [--dbname=CONNINFO] --subscription=NAME [--exec=COMMAND] [option ...]\n\n"
	"  --exec=COMMAND     run COMMAND (by sh) for each event, which is a line of JSON on its standard input; also set: ATP_EVENT_ID,\n"
	"                     ATP_EVENT_TYPE, ATP_STREAM, ATP_LOG_POSITION, ATP_ATTEMPT. Exit status 0 acks, 65 is a permanent\n"
	"                     failure (EX_DATAERR), anything else a failure to be tried again. Without --exec, the lines are written out.\n"
	"  --consumer=NAME    name for status views (default: host and process)\n"
	"  --tenant=NAME      tenant of the subscription (default: that of the setting atp.tenant)\n"
	"  --max-count=N      events of one claim, 1 to 1000 (default: 100)\n"
	"  --accept-versions=JSON  versions of the payload to be given, by event type, as claim_events takes them: {\"OrderPlaced\": 2,\n"
	"                     \"OrderPaid\": [1, 2]}, or active: the active version of each (default: as they are stored)\n"
	"  --poll=SECONDS     how long to wait for a notification at most (default: 5)\n"
	"  --until-empty      leave when a claim finds nothing\n"
	"  --help\n\n"
	"CONNINFO is a connection string of libpq; PGHOST and so on are honoured. SIGTERM and SIGINT: the event in work is finished and\n"
	"acked, the rest of the lease is given back. Exit: 0 done, 1 usage, 2 the server refused, 3 the output was closed.\n"
};

static struct
{
	const char *dbname;
	const char *subscription;
	const char *command;		/* NULL: write lines */
	const char *tenant;
	const char *accept;			/* NULL: as they are stored */
	char		consumer[128];
	int			max_count;
	int			poll_ms;
	bool		until_empty;
}			option = {.dbname = "", .max_count = 100, .poll_ms = 5000};

static PGconn *connection;
static volatile sig_atomic_t stop;
static int	signal_pipe[2];		/* a byte for each signal, so that poll wakes */

typedef struct Lease
{
	char		id[UUID_TEXT];	/* empty: none */
	time_t		renew_at;
} Lease;

static void say(const char *format,...) __attribute__((format(printf, 1, 2)));

static void
say(const char *format,...)
{
	va_list		arguments;

	va_start(arguments, format);
	fputs("atp-consume: ", stderr);
	vfprintf(stderr, format, arguments);
	fputc('\n', stderr);
	va_end(arguments);
}

static void
on_signal(int number)
{
	int			before = errno;

	if (number != SIGCHLD)
		stop = 1;
	if (write(signal_pipe[1], "", 1) < 0)
		stop = stop;			/* full: poll wakes anyway */
	errno = before;
}

/* Waits until a signal, something to read on `fd` (-1: nothing), or the time is over. */
static void
wait_for(int fd, int ms)
{
	struct pollfd fds[2] = {{.fd = signal_pipe[0], .events = POLLIN}, {.fd = fd, .events = POLLIN}};
	char		bytes[64];

	if (poll(fds, 2, ms) > 0 && (fds[0].revents & POLLIN) != 0 && read(signal_pipe[0], bytes, sizeof(bytes)) < 0)
		return;
}

/* ---- the server ---- */

/* Says whether an error of the server passes of itself: then the connection is made again and the work goes on. */
static bool
is_transient(const PGresult *result)
{
	const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);

	return state == NULL || strncmp(state, "08", 2) == 0 || strncmp(state, "40", 2) == 0 || strncmp(state, "53", 2) == 0 ||
		strncmp(state, "57", 2) == 0 || strncmp(state, "58", 2) == 0 || strcmp(state, "TP302") == 0;
}

/*
 * Runs a statement. NULL: the connection was lost, or the server was not able to now, which has been said; anything else that goes
 * wrong ends the program.
 */
static PGresult *
query(const char *sql, int count, const char *const *values)
{
	PGresult   *result = PQexecParams(connection, sql, count, NULL, values, NULL, NULL, 0);

	if (PQresultStatus(result) == PGRES_TUPLES_OK || PQresultStatus(result) == PGRES_COMMAND_OK)
		return result;
	say("%s", PQresultStatus(result) == PGRES_FATAL_ERROR && *PQresultErrorMessage(result) ? PQresultErrorMessage(result)
		: PQerrorMessage(connection));
	if (!is_transient(result))
		exit(EXIT_SERVER);
	PQclear(result);
	return NULL;
}

static bool
listen_on(const char *channel)
{
	char	   *quoted = PQescapeIdentifier(connection, channel, strlen(channel));
	char		sql[512];
	PGresult   *result;

	if (quoted == NULL)
		return false;
	snprintf(sql, sizeof(sql), "LISTEN %s", quoted);
	PQfreemem(quoted);
	result = query(sql, 0, NULL);
	PQclear(result);
	return result != NULL;
}

/* Connects, again and again; returns false when asked to stop. */
static bool
reconnect(void)
{
	char		channel[128];

	snprintf(channel, sizeof(channel), "atp_%.63s", option.subscription);
	channel[63] = '\0';			/* as the server cuts names */
	for (int delay = 100; !stop; delay = delay * 2 > MAX_DELAY_MS ? MAX_DELAY_MS : delay * 2)
	{
		const char *keywords[] = {"dbname", "fallback_application_name", NULL};
		const char *values[] = {option.dbname, "atp-consume", NULL};

		PQfinish(connection);
		connection = PQconnectdbParams(keywords, values, 1);
		if (PQstatus(connection) == CONNECTION_OK && listen_on("atp") && listen_on(channel))
			return true;
		if (PQstatus(connection) != CONNECTION_OK)
			say("%s", PQerrorMessage(connection));
		wait_for(-1, delay);
	}
	return false;
}

/* ---- leases ---- */

static void
set_lease(Lease *lease, const PGresult *result, int row)
{
	double		left = atof(PQgetvalue(result, row, PQfnumber(result, "seconds")));

	snprintf(lease->id, sizeof(lease->id), "%s", PQgetvalue(result, row, PQfnumber(result, "lease")));
	lease->renew_at = time(NULL) + (time_t) (left / 2);
}

/* Claims the next events; acks `lease` (if there is one) in the same call and forgets it. */
static PGresult *
claim(Lease *lease)
{
	char		count[16];
	const char *values[] = {option.subscription, count, option.consumer, lease->id[0] ? lease->id : NULL, option.tenant, option.accept};
	PGresult   *result;

	snprintf(count, sizeof(count), "%d", option.max_count);
	result = query("SELECT c.lease, c.attempt, c.log_position, c.event_id, c.event_type, c.stream, row_to_json(c) AS line,"
				   " extract(epoch FROM (SELECT s.lock_duration FROM atp.get_subscription($1, $5) s)) AS seconds"
				   " FROM atp.claim_events($1, $2, $3, ack_lease => $4, tenant => $5, accept_versions => $6) c", 6, values);
	lease->id[0] = '\0';
	if (result != NULL && PQntuples(result) > 0)
		set_lease(lease, result, 0);
	return result;
}

static bool
ack(const Lease *lease, const char *through)
{
	const char *values[] = {option.subscription, lease->id, through, option.tenant};
	PGresult   *result = query("SELECT atp.ack_events($1, $2, $3, $4)", 4, values);

	PQclear(result);
	return result != NULL;
}

/* Gives back what was not begun. */
static void
release(const Lease *lease)
{
	const char *values[] = {option.subscription, lease->id, option.tenant};

	PQclear(query("SELECT atp.release_lease($1, $2, $3)", 3, values));
}

static bool
renew_if_due(Lease *lease)
{
	const char *values[] = {option.subscription, lease->id, option.tenant};
	PGresult   *result;

	if (time(NULL) < lease->renew_at)
		return true;
	result = query("SELECT $2::uuid AS lease, extract(epoch FROM atp.renew_lease($1, $2, tenant => $3) - clock_timestamp()) AS seconds",
				   3, values);
	if (result == NULL)
		return false;
	set_lease(lease, result, 0);
	PQclear(result);
	return true;
}

/* Gives an event back. `withdrawn` gets the array of those behind it that are not to be handled now; free it with PQclear. */
static PGresult *
nack(const Lease *lease, const char *event_id, int status)
{
	char		reason[128];
	const char *values[] = {option.subscription, lease->id, event_id, reason, status == 65 ? "true" : "false", option.tenant};

	snprintf(reason, sizeof(reason), status > 0 ? "the command ended with exit status %d" : "the command ended by signal %d", abs(status));
	return query("SELECT (atp.nack_event($1, $2, $3, $4, $5, $6)).withdrawn::text", 6, values);
}

/* ---- one event ---- */

static void
become_command(const PGresult *result, int row, int input)
{
	static const struct
	{
		const char *variable;
		const char *column;
	}			environment[] = {
		{"ATP_EVENT_ID", "event_id"}, {"ATP_EVENT_TYPE", "event_type"}, {"ATP_STREAM", "stream"},
		{"ATP_LOG_POSITION", "log_position"}, {"ATP_ATTEMPT", "attempt"},
	};

	for (size_t i = 0; i < sizeof(environment) / sizeof(environment[0]); i++)
		setenv(environment[i].variable, PQgetvalue(result, row, PQfnumber(result, environment[i].column)), 1);
	signal(SIGPIPE, SIG_DFL);
	signal(SIGINT, SIG_IGN);	/* of the terminal: the event in work is finished */
	dup2(input, STDIN_FILENO);
	execl("/bin/sh", "sh", "-c", option.command, (char *) NULL);
	_exit(127);
}

/* Writes the line to the command, which need not read it. */
static void
feed(int fd, const char *line)
{
	size_t		size = strlen(line);

	for (size_t done = 0; done < size;)
	{
		ssize_t		written = write(fd, line + done, size - done);

		if (written < 0 && errno != EINTR)
			break;
		done += written > 0 ? (size_t) written : 0;
	}
	if (write(fd, "\n", 1) < 0)
		errno = 0;
	close(fd);
}

/* Runs the command for an event: its exit status, or minus the number of its signal. False: the connection was lost meanwhile. */
static bool
run_command(const PGresult *result, int row, Lease *lease, int *status)
{
	int			pipe_fds[2];
	bool		connected = true;
	pid_t		child;
	int			wait_status;

	if (pipe(pipe_fds) < 0 || (child = fork()) < 0)
	{
		say("%s", strerror(errno));
		exit(EXIT_SERVER);
	}
	if (child == 0)
	{
		close(pipe_fds[1]);
		become_command(result, row, pipe_fds[0]);
	}
	close(pipe_fds[0]);
	feed(pipe_fds[1], PQgetvalue(result, row, PQfnumber(result, "line")));
	while (waitpid(child, &wait_status, WNOHANG) == 0)
	{
		wait_for(-1, 1000);
		connected = connected && renew_if_due(lease);
	}
	*status = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : -WTERMSIG(wait_status);
	return connected;
}

static bool
is_withdrawn(const char *withdrawn, const char *event_id)
{
	return withdrawn != NULL && strstr(withdrawn, event_id) != NULL;	/* both in the server's spelling */
}

/* Runs the command for each event of a claim. Returns false when the connection has to be made again. */
static bool
run_batch(const PGresult *result, Lease *lease)
{
	int			id = PQfnumber(result, "event_id");
	char	   *withdrawn = strdup("");
	bool		connected = true;
	int			row;

	for (row = 0; row < PQntuples(result) && connected && !stop; row++)
	{
		const char *event_id = PQgetvalue(result, row, id);
		int			status;

		if (is_withdrawn(withdrawn, event_id))
			continue;
		connected = renew_if_due(lease) && run_command(result, row, lease, &status);
		if (connected && status != 0)
		{
			PGresult   *given_back = nack(lease, event_id, status);

			say("event %s (%s): %s %d", event_id, PQgetvalue(result, row, PQfnumber(result, "event_type")),
				status > 0 ? "exit status" : "signal", abs(status));
			connected = given_back != NULL;
			if (connected && !PQgetisnull(given_back, 0, 0))
			{
				withdrawn = realloc(withdrawn, strlen(withdrawn) + strlen(PQgetvalue(given_back, 0, 0)) + 1);
				strcat(withdrawn, PQgetvalue(given_back, 0, 0));
			}
			PQclear(given_back);
		}
		if (connected && status == 0)
			connected = ack(lease, row == PQntuples(result) - 1 ? NULL : PQgetvalue(result, row, PQfnumber(result, "log_position")));
	}
	if (connected && row == PQntuples(result))
		lease->id[0] = '\0';	/* acked whole */
	free(withdrawn);
	return connected;
}

static void
write_batch(const PGresult *result)
{
	int			line = PQfnumber(result, "line");

	for (int row = 0; row < PQntuples(result); row++)
		if (fputs(PQgetvalue(result, row, line), stdout) < 0 || fputc('\n', stdout) < 0)
			break;
	if (fflush(stdout) != 0 || ferror(stdout))
	{
		say("standard output: %s", strerror(errno));
		exit(EXIT_OUTPUT);
	}
}

/* ---- the program ---- */

static void
consume(void)
{
	Lease		lease = {0};
	bool		connected = reconnect();

	while (!stop)
	{
		PGresult   *result;
		PGnotify   *notification;

		if (!connected)
		{
			lease.id[0] = '\0';	/* it expires, and its events come again */
			if (!reconnect())
				break;
		}
		result = claim(&lease);
		connected = result != NULL;
		if (connected && PQntuples(result) > 0)
		{
			if (option.command != NULL)
				connected = run_batch(result, &lease);
			else
				write_batch(result);	/* acked by the next claim */
		}
		else if (connected && option.until_empty)
			stop = 1;
		else if (connected)
		{
			wait_for(PQsocket(connection), option.poll_ms);
			connected = PQconsumeInput(connection) == 1;
			while ((notification = PQnotifies(connection)) != NULL)
				PQfreemem(notification);
		}
		PQclear(result);
	}
	if (connected && lease.id[0] != '\0')
	{
		if (option.command == NULL)
			(void) ack(&lease, NULL);
		else
			release(&lease);
	}
	PQfinish(connection);
}

static int
number(const char *text, int low, int high, const char *name)
{
	char	   *end;
	long		value = strtol(text, &end, 10);

	if (*text == '\0' || *end != '\0' || value < low || value > high)
	{
		say("--%s takes a number from %d to %d", name, low, high);
		exit(EXIT_USAGE);
	}
	return (int) value;
}

static void
read_options(int argc, char **argv)
{
	static const struct option known[] = {
		{"dbname", required_argument, NULL, 'd'}, {"subscription", required_argument, NULL, 's'}, {"exec", required_argument, NULL, 'e'},
		{"consumer", required_argument, NULL, 'c'}, {"tenant", required_argument, NULL, 't'}, {"max-count", required_argument, NULL, 'n'},
		{"accept-versions", required_argument, NULL, 'v'},
		{"poll", required_argument, NULL, 'p'}, {"until-empty", no_argument, NULL, 'u'}, {"help", no_argument, NULL, 'h'}, {0}
	};
	char		host[64] = "";
	int			letter;

	gethostname(host, sizeof(host) - 1);
	snprintf(option.consumer, sizeof(option.consumer), "%s:%d", host, (int) getpid());
	while ((letter = getopt_long(argc, argv, "", known, NULL)) != -1)
		switch (letter)
		{
			case 'd': option.dbname = optarg; break;
			case 's': option.subscription = optarg; break;
			case 'e': option.command = optarg; break;
			case 'c': snprintf(option.consumer, sizeof(option.consumer), "%s", optarg); break;
			case 't': option.tenant = optarg; break;
			case 'n': option.max_count = number(optarg, 1, 1000, "max-count"); break;
			case 'p': option.poll_ms = number(optarg, 1, 3600, "poll") * 1000; break;
			case 'v': option.accept = strcmp(optarg, "active") == 0 ? "\"active\"" : optarg; break;
			case 'u': option.until_empty = true; break;
			case 'h': fputs(usage.text, stdout); exit(EXIT_DONE);
			default: exit(EXIT_USAGE);
		}
	if (option.subscription == NULL || optind < argc)
	{
		say("%s; see --help", option.subscription == NULL ? "--subscription is needed" : "too many arguments");
		exit(EXIT_USAGE);
	}
}

int
main(int argc, char **argv)
{
	struct sigaction action = {.sa_handler = on_signal};

	read_options(argc, argv);
	if (pipe(signal_pipe) < 0)
	{
		say("%s", strerror(errno));
		return EXIT_SERVER;
	}
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGCHLD, &action, NULL);
	signal(SIGPIPE, SIG_IGN);
	consume();
	return EXIT_DONE;
}
