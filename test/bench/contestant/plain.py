"""Limit A: a prepared INSERT of the same row into a table of the same shape and indexes, with nothing around it.

The client brings a time-ordered id and the version, as it would; hash and salts are constants of the right length. The shape is that of
a leaf of atp_internal.event; the report says so if the two have drifted apart. Two relatives: what an application's own table would
look like (jsonb columns, without the index on xid), and A with a NOTIFY in the same transaction.
"""
from contestant.base import Contestant
from harness import STREAMS

CONSTANT = "decode('" + '5a' * 32 + "', 'hex')"

COLUMNS = """event_id, stream, stream_version, occurred_at, recorded_at, xid, tenant, event_type, schema_version, flags, hash, salts,
    payload, metadata"""

TABLE = """
CREATE TABLE public.event (
    event_id uuid NOT NULL,
    stream bigint NOT NULL,
    stream_version bigint NOT NULL,
    occurred_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL,
    xid xid8 NOT NULL,
    seq bigint NOT NULL DEFAULT nextval('public.event_seq'),
    tenant integer NOT NULL,
    event_type integer NOT NULL,
    schema_version integer NOT NULL,
    flags smallint NOT NULL,
    hash bytea NOT NULL,
    salts bytea,
    payload {type},
    metadata {type},
    private {type}
);
CREATE UNIQUE INDEX ON public.event (event_id, tenant);
CREATE UNIQUE INDEX ON public.event (stream, stream_version, tenant);
"""
XID_INDEX = 'CREATE INDEX ON public.event (xid);'


class Plain(Contestant):
    name = 'plain'
    title = 'A: plain INSERT'
    table = TABLE.format(type='json') + XID_INDEX
    append = f"""INSERT INTO public.event ({COLUMNS}) VALUES
        (encode(int8send(:time_part) || int8send(:random_part), 'hex')::uuid, :stream, :version, now(), clock_timestamp(),
        pg_current_xact_id(), 1, 1, 1, 0, {CONSTANT}, {CONSTANT}, {{payload}}, {{metadata}});"""

    def install(self):
        super().install()
        self.server.psql(self.database, stdin='CREATE SEQUENCE public.event_seq;' + self.table
                         + 'GRANT ALL ON public.event, public.event_seq TO bench;')

    def _fill(self, stream, version, first, last):
        return f"""INSERT INTO public.event ({COLUMNS})
            SELECT encode(int8send(((extract(epoch FROM clock_timestamp()) * 1000)::bigint << 16) + i % 65536)
                || int8send((random() * 9e18)::bigint), 'hex')::uuid,
                {stream}, {version}, now(), clock_timestamp(), pg_current_xact_id(), 1, 1, 1, 0, {CONSTANT}, {CONSTANT},
                bench.payload(i), bench.metadata(i)
            FROM generate_series({first}::bigint, {last}) i"""

    def prefill(self, streams, categories):
        if categories > 1:
            self.server.psql(self.database, self._fill('i', '1', 1, streams))

    def load_slice(self, events, first, last):
        stream = f'CASE WHEN i <= {events} / 2 THEN {STREAMS} + i % ({events} / 4000) ELSE i % {STREAMS} END'
        return self._fill(stream, 'i', first, last)


class OwnTable(Plain):
    name = 'own'
    title = "an application's own table"
    table = TABLE.format(type='jsonb')


class PlainNotify(Plain):
    name = 'notify'
    title = 'A + NOTIFY'
    append = f"""WITH event AS ({Plain.append.rstrip(';')} RETURNING seq)
        SELECT pg_notify('bench', seq::text) FROM event;"""
    key = append.replace("SELECT pg_notify('bench', seq::text)", "SELECT seq::text || pg_notify('bench', seq::text)::text")
