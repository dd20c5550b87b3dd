"""SQL over psql, batched: one question for many rows of input, in one session."""
import subprocess

TRY = """
CREATE FUNCTION pg_temp.try(expression text, VARIADIC arguments text[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	EXECUTE 'SELECT (' || expression || ')::text' INTO result USING arguments;
	RETURN result;
EXCEPTION WHEN OTHERS THEN
	RETURN 'error ' || SQLSTATE;
END $$;
"""


def literal(value):
    """A field of COPY's text format."""
    if value is None:
        return '\\N'
    return value.replace('\\', '\\\\').replace('\t', '\\t').replace('\n', '\\n').replace('\r', '\\r')


def ask(expression, rows, width):
    """Evaluates an SQL expression over rows of text arguments, named ($1)[1] ... ($1)[width] in it. Returns a list of text, None for
    NULL, 'error SQLSTATE' where it raises."""
    names = ['a%d' % i for i in range(1, width + 1)]
    script = ['\\set ON_ERROR_STOP 1', '\\set VERBOSITY terse', 'SET client_encoding = utf8;', 'SET TimeZone = utc;', TRY,
              'CREATE TEMP TABLE question(n serial, %s);' % ', '.join(name + ' text' for name in names),
              'COPY question(%s) FROM stdin;' % ', '.join(names)]
    script += ['\t'.join(literal(value) for value in row) for row in rows]
    script += ['\\.', "SELECT coalesce(encode(convert_to(pg_temp.try($q$%s$q$, %s), 'UTF8'), 'hex'), 'null') FROM question ORDER BY n;"
               % (expression, ', '.join(names))]
    done = subprocess.run(['psql', '-XqAt'], input='\n'.join(script) + '\n', capture_output=True, text=True, encoding='utf-8')
    if done.returncode != 0:
        raise SystemExit('psql failed: ' + done.stderr)
    answers = done.stdout.split('\n')[:-1]
    assert len(answers) == len(rows), (len(answers), len(rows), done.stderr)
    return [None if answer == 'null' else bytes.fromhex(answer).decode() for answer in answers]


class Score:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def check(self, good, *what):
        if good:
            self.passed += 1
        else:
            self.failed += 1
            print('failed:', *(str(x)[:400] for x in what))

    def skip(self, *why):
        self.skipped += 1
        print('skipped:', *why)

    def finish(self):
        print('%d passed, %d failed%s' % (self.passed, self.failed, ', %d skipped' % self.skipped if self.skipped else ''))
        return self.failed > 0 or self.passed + self.skipped == 0
