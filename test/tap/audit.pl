# docs/howto/audit.md, done as it says: the verifier built from the source alone, the operator's commands, the auditor's in a directory of
# their own with nothing but what the page gives them, and the Python of the page, which shares no code with ours.
use strict;
use warnings;

use Cwd qw(abs_path);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $top = $ENV{ATP_TOP};
my $dir = PostgreSQL::Test::Utils::tempdir();
my @blocks;
{
	my ($kind, $text);
	foreach my $line (split /\n/, slurp_file("$top/docs/howto/audit.md"))
	{
		if ($line =~ /^```(\w*)$/)
		{
			push @blocks, [ $kind, $text ] if defined $kind;
			$kind = defined $kind ? undef : $1;
			$text = '';
		}
		elsif (defined $kind) { $text .= "$line\n" }
	}
}
is(join(' ', map { $_->[0] } @blocks), 'console console sql console console console text console text python console sql console sql', 'the page has the blocks that are run here');

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'atp'\natp.worker_enabled = off\n");
$node->start;
my ($signer, $auditor) = ("$dir/signer", "$dir/auditor");
mkdir $_ foreach $signer, $auditor;
my $vkey;

# Runs a block in a directory; what stands for the key, the server and the period is put in.
sub run_block
{
	my ($where, $number, $name, $expected) = @_;
	my ($kind, $text) = @{ $blocks[$number] };
	$text =~ s/\Qaudit.example.org+5e394f5e+AVzqu8aD...\E/$vkey/g if defined $vkey;
	$text =~ s/'host=db dbname=shop user=signer'/'' . "'" . $node->connstr('postgres') . "'"/ge;
	$text =~ s/ --every 60//;
	my $out = '';
	local $ENV{PATH} = $where eq $auditor ? "$auditor:$ENV{PATH}" : "$top/bin:$ENV{PATH}";
	local @ENV{qw(PGHOST PGPORT PGDATABASE)} = $where eq $auditor ? ('/nowhere', 1, 'none') : ($node->host, $node->port, 'postgres');
	IPC::Run::run($kind eq 'sql' ? [ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1' ] : [ 'sh', '-e' ], '<', \$text, '>&', \$out, init => sub { chdir $where });
	is($? >> 8, $expected // 0, $name) or diag($out);
	return $out;
}

# the auditor's program, from the source as it stands
IPC::Run::run([ 'sh', '-e' ], '<', \"cd '$top'; cc -O2 -Isrc -o '$auditor/atp-verify' src/cli/atp-verify.c src/core/*.c -lcrypto -ljson-c", '>&', \my $said);
like($blocks[0][1], qr/^cc -O2 -Isrc -o atp-verify src\/cli\/atp-verify.c src\/core\/\*.c -lcrypto -ljson-c$/, 'the line of the page');
ok(-x "$auditor/atp-verify", '... builds the verifier') or diag($said);
unlike(`ldd '$auditor/atp-verify'`, qr/libpq/, '... without PostgreSQL');

# the operator
$node->safe_psql('postgres', 'CREATE EXTENSION atp');
like(run_block($signer, 1, 'a key'), qr/^audit\.example\.org\+[0-9a-f]{8}\+\S+$/, 'the verifier key is printed');
chomp($vkey = slurp_file("$signer/vkey"));
run_block($signer, 2, 'origin and key in the database');
$node->safe_psql('postgres', q{SELECT atp.append_event('order-' || i % 2, 'OrderPlaced', jsonb_build_object('n', i, 'text', E'\u00e9 "x"', 'price', 1.50)) IS NULL FROM generate_series(1, 6) i});
$node->safe_psql('postgres', 'SELECT atp.tick(); SELECT atp.create_checkpoint()');
like(run_block($signer, 3, 'the signer'), qr/^signed 1$/m, 'signs');
run_block($signer, 4, 'the export');

# the auditor, with four things
rename "$signer/bundle.ndjson", "$auditor/bundle.ndjson";
system('cp', "$signer/vkey", $auditor);
is(run_block($auditor, 5, 'the bundle verifies'), $blocks[6][1], 'and the report is the one of the page');
my $head = slurp_file("$auditor/head");
like($head, qr/^log 1 .*^tenant \S+ 7 /ms, 'the known head has the sizes');
open my $script, '>', "$auditor/verify.py" or die $!;
print $script $blocks[9][1];
close $script;
like(run_block($auditor, 10, 'the bundle verifies without our code'), qr/^7 events verified$/m, 'every event');

# later
$node->safe_psql('postgres', q{SELECT atp.append_event('order-2', 'OrderPlaced', jsonb_build_object('n', i)) IS NULL FROM generate_series(1, 300) i});
$node->safe_psql('postgres', 'SELECT atp.tick(); SELECT atp.create_checkpoint()');
run_block($signer, 3, 'the signer goes on');
my ($ask, $export, $verify) = $blocks[7][1] =~ /^(cat .*\n)(psql .*\n)(atp-verify .*\n)$/ or die 'the block of the later bundle';
$blocks[$#blocks + 1] = [ 'console', $export ];
run_block($signer, $#blocks, 'the export that proves growth');
$blocks[$#blocks + 1] = [ 'console', $ask . $verify ];
rename "$signer/later.ndjson", "$auditor/later.ndjson";
like(run_block($auditor, $#blocks, 'it verifies against the known head'), qr/known head: consistent, and moved on/, 'and moves it on');
system('cp', "$auditor/later.ndjson", "$auditor/bundle.ndjson");
like(run_block($auditor, 10, 'without our code'), qr/^\d+ events verified$/m, 'every event');
is(run_block($auditor, 5, 'the same again') =~ /known head: consistent/, 1, 'with the page\'s first command');

# edited
my $bundle = slurp_file("$auditor/later.ndjson");
foreach my $edit ([ 'a payload', '\\"n\\":77', '\\"n\\":78', 1 ], [ 'a leaf hash', substr($bundle, index($bundle, '"hashes":"', index($bundle, '"log_range"')) + 20, 8), '00000000', 1 ])
{
	my ($name, $from, $to, $status) = @$edit;
	(my $edited = $bundle) =~ s/\Q$from\E/$to/ or die "$name: nothing to edit";
	open my $out, '>', "$auditor/bundle.ndjson" or die $!;
	print $out $edited;
	close $out;
	run_block($auditor, 5, "$name edited: atp-verify", $status);
	run_block($auditor, 10, "$name edited: without our code", 1);
}

# read in another database, and keys changed
system('cp', "$auditor/later.ndjson", "$signer/bundle.ndjson");
like(run_block($signer, 11, 'the import'), qr/OrderPlaced/, 'is read');
run_block($signer, 12, 'the next key');
run_block($signer, 13, 'is added with its endorsement');
is($node->safe_psql('postgres', q{SELECT count(*) FROM atp.list_signing_keys() WHERE endorsement IS NOT NULL}), 1, 'endorsed');
$node->stop;
done_testing();
