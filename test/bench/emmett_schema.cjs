// Prints the SQL that Emmett's PostgreSQL event store installs. The package carries it as strings; nothing of it is kept here.
const { schemaSQL } = require('@event-driven-io/emmett-postgresql');
process.stdout.write(schemaSQL.join('\n') + '\n');
