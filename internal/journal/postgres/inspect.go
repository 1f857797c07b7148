package postgres

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"invoicebox-worker/internal/journal"
)

// inspectedCommits is how many commits Inspect measures.
const inspectedCommits = 7

// An Inspection is the measured durability of a server's commits.
type Inspection struct {
	Commit   time.Duration // the median of a few commits
	ClockOff time.Duration // the server's clock minus this machine's
	// ClockDoubt bounds the error of ClockOff: the round trip of the query.
	ClockDoubt  time.Duration
	Standbys    int  // servers that follow this one now
	Synchronous bool // a commit waits for a standby
}

// Inspect measures commits and clock of a server that can be written. It leaves no data:
// each commit contains only a message in the server's log, which nobody reads.
func Inspect(ctx context.Context, o Options) (Inspection, error) {
	var found Inspection
	config, err := parse(o.URL)
	if err != nil {
		return found, err
	}
	j := &Journal{bounds: usual}
	j.prepareForFaults(config)
	conn, err := connect(ctx, o.URL, config)
	if err != nil {
		return found, named(readable(err))
	}
	defer func() { _ = conn.Close(ctx) }()
	var at int64
	before := time.Now()
	err = conn.QueryRow(ctx, "SELECT "+serverClock+", (SELECT count(*) FROM pg_stat_replication), "+synchronousSQL+" = 1").Scan(&at, &found.Standbys, &found.Synchronous)
	if err != nil {
		return found, named(readable(err))
	}
	found.ClockDoubt = time.Since(before)
	found.ClockOff = time.UnixMicro(at).Sub(before.Add(found.ClockDoubt / 2))
	if found.Commit, err = commitTime(ctx, conn); err != nil {
		return found, err
	}
	return found, nil
}

// commitTime is the median of several commits, each of which the server writes to disk.
func commitTime(ctx context.Context, conn *pgx.Conn) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, usual.commit)
	defer cancel()
	var times []time.Duration
	for range inspectedCommits {
		tx, err := conn.BeginTx(ctx, atLevel)
		if err != nil {
			return 0, named(readable(err))
		}
		if _, err := tx.Exec(ctx, "SELECT pg_logical_emit_message(TRUE, 'invoicebox-worker', 'check')"); err != nil {
			return 0, named(readable(err))
		}
		before := time.Now()
		err = tx.Commit(ctx)
		times = append(times, time.Since(before))
		switch {
		case ctx.Err() != nil:
			return 0, fmt.Errorf("%w: a commit did not end within %s", journal.ErrUnreachable, usual.commit)
		case err != nil:
			return 0, named(readable(err))
		}
	}
	slices.Sort(times)
	return times[len(times)/2], nil
}
