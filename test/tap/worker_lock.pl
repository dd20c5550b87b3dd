# Sessions that hold the locks of trees and checkpoints in open transactions: the worker goes on with its other jobs, and growth that was
# committed after a later checkpoint gets one of its own. One signer works with a state, never two.
use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

my $bin = "$ENV{ATP_TOP}/bin";
my $dir = PostgreSQL::Test::Utils::tempdir();
my $node = PostgreSQL::Test::Cluster->new('locks');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'atp'\natp.checkpoint_interval = 86400\nfsync = off\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION atp');

my $unplaced = q{SELECT count(*) FROM atp_internal.event e WHERE NOT EXISTS (SELECT FROM atp_internal.log l WHERE l.event_id = e.event_id)};
my $unchecked = q{SELECT count(*) FROM atp_internal.tree r WHERE r.tenant <> 0 AND r.size >
	coalesce((SELECT max(h.size) FROM atp_internal.tenant_head h WHERE h.tenant = r.tenant), 0)};
my $waiting = q{SELECT count(*) FROM atp_internal.log l WHERE l.log_position > (SELECT log_position FROM atp_internal.leaf_state)};

sub append
{
	$node->safe_psql('postgres', q{SELECT atp.append_event('order-1', 'OrderPlaced')});
	return;
}

append();
ok($node->poll_query_until('postgres', 'SELECT count(*) > 0 FROM atp_internal.checkpoint'), 'the first checkpoint is made at once');
append();
ok($node->poll_query_until('postgres', "$unplaced UNION ALL $waiting", "0\n0"), 'a second event becomes a leaf');

my $holder = $node->background_psql('postgres');
$holder->query_safe('BEGIN');
$holder->query_safe('SELECT atp.grow_trees()');
append();
ok($node->poll_query_until('postgres', $unplaced, '0'), 'an event is placed while a session holds the lock of the trees');
sleep 1.5;
append();
ok($node->poll_query_until('postgres', $unplaced, '0'), '... and another, after the worker has found the lock held');

$holder->query_safe('SELECT atp.grow_trees()');
$node->safe_psql('postgres', q{ALTER SYSTEM SET atp.checkpoint_interval = 1});
$node->reload;
ok($node->poll_query_until('postgres', 'SELECT count(*) FROM atp_internal.checkpoint', '2'), 'a checkpoint is made that growth not yet committed has no part in');
$holder->query_safe('COMMIT');
ok($node->poll_query_until('postgres', $unchecked, '0'), '... the worker makes another, although nothing has grown since');

$holder->query_safe('BEGIN');
$holder->query_safe(q{SELECT atp.set_origin('audit.example.com/atp')});
append();
ok($node->poll_query_until('postgres', "$unplaced UNION ALL $waiting", "0\n0"), 'an event becomes a leaf while a session holds the lock of checkpoints');
sleep 2.5;
append();
ok($node->poll_query_until('postgres', "$unplaced UNION ALL $waiting", "0\n0"), '... and another, after the worker has found that lock held');
$holder->query_safe('COMMIT');
$holder->quit;
ok($node->poll_query_until('postgres', $unchecked, '0'), 'the checkpoint follows when the lock is free');

# ---- one signer to a state ----

my $key = '';
IPC::Run::run([ "$bin/atp-signer", 'generate', "$dir/key", 'audit.example.com' ], '>', \$key) or die 'no key';
chomp $key;
$node->safe_psql('postgres', "SELECT atp.add_signing_key('$key')");
my @signer = ("$bin/atp-signer", 'run', "$dir/key", "$dir/state");
my $out = '';
my $first = IPC::Run::start([ @signer, '--every', '60', $node->connstr('postgres') ], '>', \$out, '2>&1');
$first->pump until $out =~ /signed/;
my $said = '';
IPC::Run::run([ @signer, $node->connstr('postgres') ], '>', \$said, '2>&1');
is($? >> 8, 3, 'a second signer with the same state is refused');
like($said, qr/another atp-signer/, '... and says why');
$first->kill_kill;
IPC::Run::run([ @signer, $node->connstr('postgres') ], '>', \$said, '2>&1');
is($? >> 8, 0, '... when the first has gone, it may');

$node->stop;
done_testing();
