"""atp with all of it on: envelope, commitments, chain, log, projections, wake-up. It appends as a role that has atp_writer only.

settle() waits until the log and the trees have caught up: what they and the projections burn belongs to the round that caused it.
"""
from contestant.base import Contestant
from harness import SETTLE_SECONDS, Failure

WAIT = """
CREATE FUNCTION bench.wait_for_head(target bigint, patience integer, OUT begun bigint, OUT head bigint, OUT seconds double precision)
LANGUAGE plpgsql AS $$
DECLARE
    started timestamptz := clock_timestamp();
BEGIN
    LOOP
        SELECT coalesce(max(log_position), 0) INTO head FROM atp_internal.log;
        begun := coalesce(begun, head);
        seconds := extract(epoch FROM clock_timestamp() - started);
        EXIT WHEN head >= target OR seconds > patience;
        PERFORM pg_sleep(0.005);
    END LOOP;
END $$;

CREATE FUNCTION bench.wait_for_trees(patience integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    started timestamptz := clock_timestamp();
BEGIN
    WHILE (SELECT coalesce(max(l.log_position), 0) > coalesce((SELECT s.log_position FROM atp_internal.leaf_state s), 0)
           FROM atp_internal.log l) AND clock_timestamp() - started < make_interval(secs => patience) LOOP
        PERFORM pg_sleep(0.005);
    END LOOP;
END $$;
"""


class Atp(Contestant):
    name = 'atp'
    title = 'atp'
    append = """SELECT stream_version FROM atp.append_event(stream => 'Account' || :category::text || '-' || :stream::text,
        event_type => 'BalanceAdjusted', payload => {payload}::jsonb, metadata => {metadata}::jsonb);"""
    append_batch = 'SELECT count(*) FROM atp.append_events(stream => {stream}, events => {events}::jsonb)'
    key = """SELECT event_id::text FROM atp.append_event(stream => 'Latency-1', event_type => 'BalanceAdjusted',
        payload => {payload}::jsonb, metadata => {metadata}::jsonb)"""

    def __init__(self, server, suffix=''):
        super().__init__(server, suffix)
        self.expected = 0
        self.log_moves = True

    @classmethod
    def missing(cls, server):
        try:
            server.psql('postgres', 'CREATE DATABASE bench_probe')
            server.psql('bench_probe', 'CREATE EXTENSION atp')
            there = server.psql('bench_probe', "SELECT count(*) FROM pg_proc WHERE pronamespace = 'atp'::regnamespace"
                                " AND proname IN ('append_event', 'append_events')")
        except Failure as failure:
            return str(failure)
        return None if int(there) >= 2 else 'this build has no append path'

    def install(self):
        super().install()
        self.server.psql(self.database, 'CREATE EXTENSION atp')
        self.server.psql(self.database, stdin=WAIT + ''.join(
            f'GRANT {role} TO bench;' for role in ('atp_writer', 'atp_reader', 'atp_auditor')))
        self.expected = self.stored()

    def _append(self, stream, first, last):
        return f"""SELECT count(*) FROM generate_series({first}::bigint, {last}) i, LATERAL atp.append_event(
            stream => {stream}, event_type => 'BalanceAdjusted', payload => bench.payload(i), metadata => bench.metadata(i))"""

    def prefill(self, streams, categories):
        self.server.psql(self.database, self._append(f"'Account' || i % {categories} || '-' || i", 1, streams))
        self.expected = self.stored()
        try:
            self.drain(15)
        except Failure as failure:          # the appends can still be measured, but the reader must know what was missing
            self.log_moves, self.remark = False, f'atp appended without its sequencer: {failure}'

    def load_slice(self, events, first, last):
        return self._append(f'bench.stream(i, {events})', first, last)

    def stored(self):
        return int(self.server.psql(self.database, 'SELECT count(*) FROM atp_internal.event'))

    def head(self):
        return int(self.server.psql(self.database, 'SELECT coalesce(max(log_position), 0) FROM atp_internal.log'))

    def note(self, events):
        self.expected += events

    def drain(self, patience=SETTLE_SECONDS):
        """Waits until the log has all that was appended: where its head stood, and for how many seconds it took."""
        query = f'SELECT * FROM bench.wait_for_head({self.expected}, {patience})'
        begun, head, seconds = self.server.rows(self.database, query)[0]
        if int(head) < self.expected:
            raise Failure(f'the log went from {int(begun):,} to {int(head):,} of {self.expected:,} events in {patience} s')
        return int(begun), float(seconds)

    def settle(self):
        if self.log_moves:
            self.drain()
            self.server.psql(self.database, f'SELECT bench.wait_for_trees({SETTLE_SECONDS})')
