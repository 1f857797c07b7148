package postgres

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/rows"
	"invoicebox-worker/internal/journal/steps"
)

// permits are the changes of a transaction to the ledgers. Ledgers from which it takes
// permits are locked. To return a permit needs no lock, because that only increases
// what is available.
type permits struct {
	counted map[span]*count
	more    map[bucket]int64
	fewer   map[bucket]int64
	taken   map[int64]int64          // how many were taken from ledgers: they are not in the table yet
	takes   map[int64]int64          // ledgers from which permits are taken, with their longest window
	next    map[journal.Permit]int64 // when the next permit is available
}

type bucket struct{ ledger, from int64 }

// A span is a ledger with a window over which it is counted, in microseconds. Requests
// of one transaction may name different ones, as after a change of the settings.
type span struct{ ledger, window int64 }

// A count is how many permits of a ledger are taken, and the instant before which it is
// unknown which requests were sent, 0 if all are known.
type count struct{ out, since int64 }

// left returns how many permits are left. If earlier requests are unknown, as many as
// the limit may have been sent; they count until one slack after the end of the unknown
// history. Left returns that instant until its window has passed.
func (c count) left(now int64, p journal.Permit) (n int, unknown int64) {
	if until := c.since + p.Slack.Microseconds(); c.since != 0 && until > now-p.Window.Microseconds() {
		return 0, until
	}
	return max(p.Limit-int(c.out), 0), 0
}

func newPermits() permits {
	return permits{counted: make(map[span]*count), more: make(map[bucket]int64), fewer: make(map[bucket]int64), taken: make(map[int64]int64), takes: make(map[int64]int64), next: make(map[journal.Permit]int64)}
}

const (
	// outRead counts the permits of ledgers that are taken at present, and reads since
	// when the history is known. $3 is a test's present.
	outRead = `SELECT x.ledger, coalesce((SELECT sum(many) FROM permit WHERE ledger = x.ledger AND counts_from > present.at - x.span), 0)::bigint,
		(SELECT value FROM meta WHERE name = 'history'), x.span
		FROM (SELECT coalesce($3::bigint, ` + serverClock + `) AS at OFFSET 0) present, unnest($1::bigint[], $2::bigint[]) AS x(ledger, span)`
	// nextRead finds the first instant after which fewer than the limit count. $4 and $5
	// are the permits that this transaction has taken.
	nextRead = `SELECT coalesce(min(counts_from), 0)::bigint FROM (SELECT counts_from, sum(many) OVER (ORDER BY counts_from DESC) - many AS later
		FROM (SELECT counts_from, sum(many) AS many FROM (
			SELECT counts_from, many FROM permit WHERE ledger = $1 UNION ALL SELECT * FROM unnest($4::bigint[], $5::bigint[])) p
			WHERE counts_from > $2 GROUP BY counts_from) taken) x WHERE later < $3`
)

// next returns when a permit of a full ledger becomes available: one window after the
// first instant after which fewer than the limit count.
func (c count) next(after, unknown, now int64, p journal.Permit) int64 {
	if unknown != 0 && c.out < int64(p.Limit) {
		after = 0 // the known requests alone leave some permits
	}
	if after = max(after, unknown); after == 0 {
		after = now
	}
	return after + p.Window.Microseconds()
}

// AvailablePermits counts the committed permits. A ledger without a row has all
// permits.
func (d database) AvailablePermits(ctx context.Context, p journal.Permit) (left steps.Available, known bool, err error) {
	j := d.j
	if j.beside {
		return left, false, journal.ErrReadOnly
	}
	ledger, now := int64(0), j.clock.micros() // its id never changes
	if err := j.read(ctx, "SELECT id FROM ledger WHERE name = $1", func(r row) error {
		ledger = r.int(0)
		return nil
	}, p.Ledger); err != nil {
		return left, false, err
	}
	var c count
	var unknown int64
	if err := j.read(ctx, outRead, func(r row) error {
		c = count{r.int(1), number(r.blob(2))}
		left.Permits, unknown = c.left(now, p)
		return nil
	}, []int64{ledger}, []int64{p.Window.Microseconds()}, j.clock.given()); err != nil || left.Permits > 0 {
		return left, true, err
	}
	j.refused.Store(true)
	err = j.read(ctx, nextRead, func(r row) error {
		left.Next = c.next(r.int(0), unknown, now, p)
		return nil
	}, ledger, now-p.Window.Microseconds(), int64(p.Limit), []int64{}, []int64{})
	return left, true, err
}

// AskPermits counts ledgers that are locked and were not counted yet.
func (t *stepTx) AskPermits(ps []journal.Permit) []steps.Ask {
	var ledgers, windows []int64
	asked := make(map[span]bool, len(ps))
	for _, p := range ps {
		id, ok := t.j.ledgers[p.Ledger]
		k := span{id, p.Window.Microseconds()}
		if _, counted := t.permits.counted[k]; ok && !counted && !asked[k] {
			asked[k] = true
			ledgers, windows = append(ledgers, k.ledger), append(windows, k.window)
		}
	}
	if len(ledgers) == 0 {
		return nil
	}
	return []steps.Ask{{Query: outRead, Args: []any{ledgers, windows, t.j.clock.given()}, Each: func(_ []string, values []any) error {
		r := row(values)
		k := span{r.int(0), r.int(3)}
		t.permits.counted[k] = &count{r.int(1) + t.permits.taken[k.ledger], number(r.blob(2))}
		return nil
	}}}
}

func (t *stepTx) AvailablePermits(p journal.Permit) (left steps.Available, err error) {
	id, ok := t.j.ledgers[p.Ledger]
	if !ok {
		return left, fmt.Errorf("journal: ledger %q is not locked", p.Ledger)
	}
	if err := t.Load(t.AskPermits([]journal.Permit{p})); err != nil {
		return left, err
	}
	var unknown int64
	k := span{id, p.Window.Microseconds()}
	if left.Permits, unknown = t.permits.counted[k].left(t.now, p); left.Permits > 0 {
		return left, nil
	}
	t.j.refused.Store(true)
	after, ok := t.permits.next[p]
	if !ok {
		froms, many := []int64{}, []int64{}
		for b, n := range t.permits.more {
			if b.ledger == id {
				froms, many = append(froms, b.from), append(many, n)
			}
		}
		if err := t.Load([]steps.Ask{{Query: nextRead, Args: []any{id, t.now - p.Window.Microseconds(), int64(p.Limit), froms, many}, Each: func(_ []string, values []any) error {
			after = row(values).int(0)
			return nil
		}}}); err != nil {
			return left, err
		}
		t.permits.next[p] = after
	}
	left.Next = t.permits.counted[k].next(after, unknown, t.now, p)
	return left, nil
}

func (t *stepTx) TakePermits(a *rows.Attempt, ps []journal.Permit) ([]int64, error) {
	for _, p := range ps {
		a.Grain = max(a.Grain, steps.Grain(p.Limit, p.Window))
	}
	a.CountsFrom = steps.RoundUp(a.CountsFrom, a.Grain)
	ids := make([]int64, len(ps))
	for i, p := range ps {
		id := t.j.ledgers[p.Ledger]
		ids[i] = id
		t.permits.taken[id]++
		for k, c := range t.permits.counted {
			if k.ledger == id {
				c.out++
			}
		}
		clear(t.permits.next)
		t.permits.more[bucket{id, a.CountsFrom}]++
		t.permits.takes[id] = max(t.permits.takes[id], p.Window.Microseconds())
	}
	return ids, nil
}

func (t *stepTx) PermitsBack(a *rows.Attempt, was, is int64, counts bool) {
	for l := range steps.LedgerIDs(a.Ledgers) {
		t.permits.fewer[bucket{l, was}]++
		if counts {
			t.permits.more[bucket{l, is}]++
		}
		t.back = true
	}
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
