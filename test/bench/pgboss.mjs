// Consumers of pg-boss: node pgboss.mjs CONNINFO fill COUNT PAYLOAD, or CONNINFO take CLIENTS SECONDS BATCH. Prints events, batches, seconds.
import pgboss from 'pg-boss';
const PgBoss = pgboss.PgBoss ?? pgboss;
const [connectionString, what, ...rest] = process.argv.slice(2);
const boss = new PgBoss({ connectionString, max: 10, supervise: false, schedule: false, migrate: true });
boss.on('error', () => {});
await boss.start();
if (what === 'fill') {
    await boss.createQueue('bench').catch(() => {});
    const count = Number(rest[0]);
    const data = JSON.parse(rest[1]);
    for (let done = 0; done < count; done += 1000) {
        const jobs = Array.from({ length: Math.min(1000, count - done) }, () => ({ name: 'bench', data }));
        await (boss.insert.length > 1 ? boss.insert('bench', jobs) : boss.insert(jobs));
    }
} else {
    const [clients, seconds, batchSize] = rest.map(Number);
    const started = performance.now();
    let events = 0, batches = 0, last = started;
    await Promise.all(Array.from({ length: clients }, async () => {
        while (performance.now() - started < seconds * 1000) {
            const jobs = await boss.fetch('bench', { batchSize });
            if (!jobs || jobs.length === 0) return;
            await boss.complete('bench', jobs.map((job) => job.id));
            events += jobs.length; batches++; last = performance.now();
        }
    }));
    console.log(events, batches, ((last - started) / 1000).toFixed(6));
}
await boss.stop({ graceful: false });
process.exit(0);
