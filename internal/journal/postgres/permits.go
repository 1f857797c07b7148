package postgres

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/stored"
)

// permits are what the requests of a transaction do to the ledgers. Those from
// which any is taken are locked; what comes back needs no lock, because it only
// makes room.
type permits struct {
	counted map[int64]*count
	more    map[bucket]int64
	fewer   map[bucket]int64
	emails  map[emailKey]bool // addresses that an attempt of the transaction goes to
	takes   map[int64]int64   // ledgers from which any was taken, with their longest window
}

type bucket struct{ ledger, from int64 }

// A count is how many permits of a ledger are out, how many of them are known, and
// until when all are because nobody knows what was sent.
type count struct{ out, known, unknown int64 }

// counting reads the columns of outRead. Where the history is unknown as much as
// a ledger allows may have been sent until then, and counts a slack later.
func counting(r row, now int64, p journal.Permit) count {
	c := count{out: r.int(0), known: r.int(0)}
	if since := number(r.blob(1)); since != 0 && since+p.Slack.Microseconds() > now-p.Window.Microseconds() {
		c.unknown = since + p.Slack.Microseconds()
		c.out = max(c.out, int64(p.Limit))
	}
	return c
}

func newPermits() permits {
	return permits{counted: make(map[int64]*count), more: make(map[bucket]int64), fewer: make(map[bucket]int64), takes: make(map[int64]int64), emails: make(map[emailKey]bool)}
}

// exactLimit is the largest limit that is counted request by request; above it
// a window has so many buckets. A permit then comes back a little late, never
// early.
const exactLimit = 4096

// grain is what the instants of an attempt with these permits are rounded up to.
func grain(ps []journal.Permit) int64 {
	g := int64(1)
	for _, p := range ps {
		if p.Limit > exactLimit {
			g = max(g, p.Window.Microseconds()/exactLimit)
		}
	}
	return g
}

// coarse rounds an instant up.
func coarse(from, grain int64) int64 { return (from + grain - 1) / grain * grain }

const (
	// outRead counts, and tells since when the history is known.
	outRead = "SELECT coalesce(sum(many), 0)::bigint, (SELECT value FROM meta WHERE name = 'history') FROM permit WHERE ledger = $1 AND counts_from > $2"
	// nextRead finds the first instant after which fewer than the limit count.
	nextRead = `SELECT coalesce(min(counts_from), 0)::bigint FROM (SELECT counts_from, sum(many) OVER (ORDER BY counts_from DESC) - many AS later
		FROM permit WHERE ledger = $1 AND counts_from > $2) x WHERE later < $3`
)

// next is when a permit of a full ledger comes back: a window after the
// instant such that fewer than the limit count from later ones.
func (c count) next(after, now int64, p journal.Permit) int64 {
	if c.unknown != 0 && c.known < int64(p.Limit) {
		after = 0 // the known ones alone leave some
	}
	if after = max(after, c.unknown); after == 0 {
		after = now
	}
	return after + p.Window.Microseconds()
}

// Free tells how many permits are left, and when the next comes back if none is.
func (j *Journal) Free(ctx context.Context, p journal.Permit) (n int, at time.Time, err error) {
	if j.beside {
		return 0, time.Time{}, journal.ErrReadOnly
	}
	if err := stored.CheckPermit(p); err != nil {
		return 0, time.Time{}, err
	}
	// The ledger's number never changes; one that is not there has all permits.
	ledger, now := int64(0), j.clock.micros()
	if err := j.read(ctx, "SELECT id FROM ledger WHERE name = $1", func(r row) error {
		ledger = r.int(0)
		return nil
	}, p.Ledger); err != nil {
		return 0, time.Time{}, err
	}
	from := now - p.Window.Microseconds()
	var out count
	if err := j.read(ctx, outRead, func(r row) error {
		out = counting(r, now, p)
		n = max(p.Limit-int(out.out), 0)
		return nil
	}, ledger, from); err != nil || n > 0 {
		return n, time.Time{}, err
	}
	j.refused.Store(true)
	err = j.read(ctx, nextRead, func(r row) error {
		at = j.clock.instant(out.next(r.int(0), now, p))
		return nil
	}, ledger, from, int64(p.Limit))
	return 0, at, err
}

// A taking is what an attempt's row has to say of its permits.
type taking struct {
	ledgers []int64
	slack   int64
	grain   int64
	from    int64 // they count from it unless an end comes before
}

// takePermits takes one of each permit or none.
func (t *tx) takePermits(deadline time.Duration, ps []journal.Permit) (g taking, err error) {
	g = taking{ledgers: make([]int64, 0, len(ps)), grain: grain(ps)}
	for _, p := range ps {
		if err := stored.CheckPermit(p); err != nil {
			return g, err
		}
		id, ok := t.j.ledgers[p.Ledger]
		if !ok {
			return g, fmt.Errorf("journal: ledger %q is not locked", p.Ledger)
		}
		if slices.Contains(g.ledgers, id) {
			return g, fmt.Errorf("journal: ledger %q is named twice", p.Ledger)
		}
		g.ledgers = append(g.ledgers, id)
		g.slack = max(g.slack, p.Slack.Microseconds())
		if err := t.counted(id, p); err != nil {
			return g, err
		}
	}
	// Nothing is asked for between this look and the taking.
	for i, p := range ps {
		if t.permits.counted[g.ledgers[i]].out >= int64(p.Limit) {
			t.j.refused.Store(true)
			at, err := t.comesBack(g.ledgers[i], p)
			if err != nil {
				return g, err
			}
			return g, &journal.NoPermitError{Ledger: p.Ledger, Next: at}
		}
	}
	g.from = coarse(t.now+deadline.Microseconds()+g.slack, g.grain)
	for i, p := range ps {
		t.permits.counted[g.ledgers[i]].out++
		t.permits.more[bucket{g.ledgers[i], g.from}]++
		t.permits.takes[g.ledgers[i]] = max(t.permits.takes[g.ledgers[i]], p.Window.Microseconds())
	}
	return g, nil
}

// untake gives back what was taken in the same transaction.
func (t *tx) untake(g taking) {
	for _, l := range g.ledgers {
		t.permits.counted[l].out--
		t.permits.more[bucket{l, g.from}]--
	}
}

// ended gives permits back by the end of their attempt.
func (t *tx) ended(ledgers []int64, was, is int64, counts bool) {
	for _, l := range ledgers {
		t.permits.fewer[bucket{l, was}]++
		if counts {
			t.permits.more[bucket{l, is}]++
		}
	}
	t.back = t.back || len(ledgers) > 0
}

// counted makes sure that it is known how many permits are out. They are counted
// once in a transaction.
func (t *tx) counted(ledger int64, p journal.Permit) error {
	if _, ok := t.permits.counted[ledger]; ok {
		return nil
	}
	r, err := t.one(outRead, ledger, t.now-p.Window.Microseconds())
	if err != nil {
		return err
	}
	if _, ok := t.permits.counted[ledger]; !ok { // else another request was faster
		c := counting(r, t.now, p)
		t.permits.counted[ledger] = &c
	}
	return nil
}

// comesBack is when a permit of a ledger comes back that has none left.
func (t *tx) comesBack(ledger int64, p journal.Permit) (time.Time, error) {
	r, err := t.one(nextRead, ledger, t.now-p.Window.Microseconds(), int64(p.Limit))
	if err != nil {
		return time.Time{}, err
	}
	return t.j.clock.instant(t.permits.counted[ledger].next(r.int(0), t.now, p)), nil
}

// flush queues what the transaction does to the ledgers.
func (p *permits) flush(to *pgx.Batch, now int64) {
	columns := func(m map[bucket]int64) (ledgers, froms, many []int64) {
		// In one order: replicas that change the same rows, which needs no ledger's
		// lock where permits come back, would wait for each other in a circle.
		for _, k := range slices.SortedFunc(maps.Keys(m), func(a, b bucket) int {
			return cmp.Or(cmp.Compare(a.ledger, b.ledger), cmp.Compare(a.from, b.from))
		}) {
			if n := m[k]; n > 0 {
				ledgers, froms, many = append(ledgers, k.ledger), append(froms, k.from), append(many, n)
			}
		}
		return ledgers, froms, many
	}
	if a, b, c := columns(p.more); len(a) > 0 {
		to.Queue(`INSERT INTO permit (ledger, counts_from, many) SELECT l, f, m FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS x(l, f, m) ORDER BY l, f
			ON CONFLICT (ledger, counts_from) DO UPDATE SET many = permit.many + excluded.many`, a, b, c)
	}
	// What came back by time may have been forgotten.
	if a, b, c := columns(p.fewer); len(a) > 0 {
		to.Queue(`UPDATE permit SET many = permit.many - x.m FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS x(l, f, m)
			WHERE permit.ledger = x.l AND permit.counts_from = x.f`, a, b, c)
	}
	for ledger, window := range p.takes {
		to.Queue("UPDATE ledger SET kept = $2 WHERE id = $1 AND kept < $2", ledger, window)
		to.Queue("DELETE FROM permit WHERE ledger = $1 AND (counts_from <= $2 - (SELECT kept FROM ledger WHERE id = $1) OR many <= 0)", ledger, now)
	}
}
