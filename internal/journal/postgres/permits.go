package postgres

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/rows"
	"invoicebox-worker/internal/journal/steps"
	"invoicebox-worker/internal/journal/stored"
)

// permits are the changes of a transaction to the ledgers. The transaction counts the
// permits that are left without a lock. Its last statements take permits, and fail if
// others have taken more since than were left. Returning a permit needs no such check,
// because it only increases what is left.
type permits struct {
	counted map[span]*count
	changed map[bucket]int64         // how many more count from an instant
	taken   map[int64]int64          // how many were taken from ledgers: they are not in the table yet
	next    map[journal.Permit]int64 // when the next permit is available
	lock    []int64                  // ledgers to lock before they are counted
}

type bucket struct{ ledger, from int64 }

// A span is a ledger with a window over which it is counted, in microseconds. Requests
// of one transaction may name different ones, as after a change of the settings.
type span struct{ ledger, window int64 }

// A count is how many permits of a ledger are in use.
type count struct {
	inUse         int64
	unknownBefore int64 // the instant before which it is unknown which requests were sent, 0 if all are known
	takenEver     int64 // how many permits had ever been taken when it was counted
	limit         int64 // the lowest limit of the permits that the transaction takes, 0 if it takes none
}

// left returns how many permits are left. If earlier requests are unknown, as many as
// the limit may have been sent; they count until one slack after the end of the unknown
// history. Left returns that instant until its window has passed.
func (c count) left(now int64, p journal.Permit) (n int, unknown int64) {
	if until := c.unknownBefore + p.Slack.Microseconds(); c.unknownBefore != 0 && until > now-p.Window.Microseconds() {
		return 0, until
	}
	return max(p.Limit-int(c.inUse), 0), 0
}

func newPermits() permits {
	return permits{counted: make(map[span]*count), changed: make(map[bucket]int64), taken: make(map[int64]int64), next: make(map[journal.Permit]int64)}
}

const (
	// permitsCount counts the permits of ledgers that are in use, and reads since when the
	// history is known. $3 is the present time in tests.
	permitsCount = `SELECT x.ledger, coalesce((SELECT sum(many) FROM permit WHERE ledger = x.ledger AND counts_from > present.at - x.span), 0)::bigint,
		(SELECT value FROM meta WHERE name = 'history'), x.span, (SELECT taken FROM ledger WHERE id = x.ledger)
		FROM (SELECT coalesce($3::bigint, ` + serverClock + `) AS at OFFSET 0) present, unnest($1::bigint[], $2::bigint[]) AS x(ledger, span)`
	// permitsNext finds the first instant after which fewer permits count than the limit. $4
	// and $5 are the permits that this transaction has taken.
	permitsNext = `SELECT coalesce(min(counts_from), 0)::bigint FROM (SELECT counts_from, sum(many) OVER (ORDER BY counts_from DESC) - many AS later
		FROM (SELECT counts_from, sum(many) AS many FROM (
			SELECT counts_from, many FROM permit WHERE ledger = $1 UNION ALL SELECT * FROM unnest($4::bigint[], $5::bigint[])) p
			WHERE counts_from > $2 GROUP BY counts_from) taken) x WHERE later < $3`
)

const (
	// reuseMinLeft is how many permits a count must have left to be used again. Counting a
	// ledger reads a row for almost every request of its window.
	reuseMinLeft = 1000
	// reuseMaxAge is for how long a count is used again. It still contains permits that were
	// returned since.
	reuseMaxAge = time.Second
)

// counts are the last counts of ledgers. A transaction that takes permits by one of them
// fails if all replicas together have taken too many since.
type counts struct {
	mu   sync.Mutex
	last map[countKey]lastCount
}

type countKey struct {
	ledger string
	window time.Duration
}

type lastCount struct {
	count
	at  time.Time
	own int64 // permits that this process has taken since
}

func (c *counts) keep(p journal.Permit, n count, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last == nil {
		c.last = make(map[countKey]lastCount)
	}
	c.last[countKey{p.RateLimit, p.Window}] = lastCount{count: n, at: at}
}

// recent returns a count that is recent and leaves enough permits.
func (c *counts) recent(p journal.Permit, now time.Time) (lastCount, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, ok := c.last[countKey{p.RateLimit, p.Window}]
	age := now.Sub(n.at)
	return n, ok && n.unknownBefore == 0 && 0 <= age && age < reuseMaxAge && int64(p.Limit)-n.inUse-n.own >= reuseMinLeft
}

func (c *counts) take(p journal.Permit) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := countKey{p.RateLimit, p.Window}
	if n, ok := c.last[k]; ok {
		n.own++
		c.last[k] = n
	}
}

func (c *counts) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.last)
}

// next returns when a permit of a full ledger becomes available: one window after the
// first instant after which fewer than the limit count.
func (c count) next(after, unknown, now int64, p journal.Permit) int64 {
	if unknown != 0 && c.inUse < int64(p.Limit) {
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
	if c, ok := j.counts.recent(p, j.clock.now()); ok {
		return steps.Available{Permits: p.Limit - int(c.inUse+c.own)}, true, nil
	}
	ledger, now := int64(0), j.clock.Now() // its id never changes
	if err := j.read(ctx, "SELECT id FROM ledger WHERE name = $1", func(r row) error {
		ledger = r.int(0)
		return nil
	}, p.RateLimit); err != nil {
		return left, false, err
	}
	var c count
	var unknown int64
	if err := j.read(ctx, permitsCount, func(r row) error {
		before, err := stored.UnpackNumber(steps.History.String(), r.blob(2))
		c = count{inUse: r.int(1), unknownBefore: before}
		left.Permits, unknown = c.left(now, p)
		return err
	}, []int64{ledger}, []int64{p.Window.Microseconds()}, j.clock.given()); err != nil || left.Permits > 0 {
		return left, true, err
	}
	j.refused.Store(true)
	err = j.read(ctx, permitsNext, func(r row) error {
		left.Next = c.next(r.int(0), unknown, now, p)
		return nil
	}, ledger, now-p.Window.Microseconds(), int64(p.Limit), []int64{}, []int64{})
	return left, true, err
}

// AskPermits counts ledgers that were not counted yet. If other replicas must not take
// permits meanwhile, it locks the ledgers before. Rows are loaded before that, because
// another transaction may hold them while it waits for a ledger.
func (t *stepTx) AskPermits(ps []journal.Permit) []steps.Ask {
	asks := t.askLocks()
	var ledgers, windows []int64
	asked, now := make(map[span]journal.Permit, len(ps)), t.j.clock.now()
	for _, p := range ps {
		id, ok := t.j.ledgers[p.RateLimit]
		k := span{id, p.Window.Microseconds()}
		if _, counted := t.permits.counted[k]; !ok || counted || asked[k].RateLimit != "" {
			continue
		}
		if c, ok := t.j.counts.recent(p, now); ok {
			t.permits.counted[k] = &count{inUse: c.inUse + t.permits.taken[id], takenEver: c.takenEver}
			continue
		}
		asked[k] = p
		ledgers, windows = append(ledgers, k.ledger), append(windows, k.window)
	}
	if len(ledgers) == 0 {
		return asks
	}
	return append(asks, steps.Ask{Query: permitsCount, Args: []any{ledgers, windows, t.j.clock.given()}, Each: func(_ []string, values []any) error {
		r := row(values)
		k := span{r.int(0), r.int(3)}
		before, err := stored.UnpackNumber(steps.History.String(), r.blob(2))
		if err != nil {
			return err
		}
		c := count{inUse: r.int(1), unknownBefore: before, takenEver: r.int(4)}
		t.j.counts.keep(asked[k], c, now)
		c.inUse += t.permits.taken[k.ledger]
		t.permits.counted[k] = &c
		return nil
	}})
}

// askLocks locks ledgers behind the outbox, as a commit does.
func (t *stepTx) askLocks() []steps.Ask {
	ledgers := t.permits.lock
	if len(ledgers) == 0 {
		return nil
	}
	t.permits.lock = nil
	ignore := func([]string, []any) error { return nil }
	return []steps.Ask{
		{Query: outboxLock, Args: []any{t.j.lockKey, int32(lockOutbox)}, Each: ignore},
		{Query: ledgersLock, Args: []any{ledgers}, Each: ignore},
	}
}

func (t *stepTx) AvailablePermits(p journal.Permit) (left steps.Available, err error) {
	id, ok := t.j.ledgers[p.RateLimit]
	if !ok {
		return left, fmt.Errorf("journal: ledger %q was not named", p.RateLimit)
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
		for b, n := range t.permits.changed {
			if b.ledger == id {
				froms, many = append(froms, b.from), append(many, n)
			}
		}
		if err := t.Load([]steps.Ask{{Query: permitsNext, Args: []any{id, t.now - p.Window.Microseconds(), int64(p.Limit), froms, many}, Each: func(_ []string, values []any) error {
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
		id := t.j.ledgers[p.RateLimit]
		ids[i] = id
		t.permits.taken[id]++
		for k, c := range t.permits.counted {
			if k.ledger == id {
				c.inUse++
			}
		}
		clear(t.permits.next)
		t.j.counts.take(p)
		t.permits.changed[bucket{id, a.CountsFrom}]++
		c := t.permits.counted[span{id, p.Window.Microseconds()}]
		if limit := int64(p.Limit); c.limit == 0 || limit < c.limit {
			c.limit = limit
		}
	}
	return ids, nil
}

func (t *stepTx) PermitsBack(a *rows.Attempt, was, is int64, counts bool) {
	for l := range steps.LedgerIDs(a.Ledgers) {
		t.permits.changed[bucket{l, was}]--
		if counts {
			t.permits.changed[bucket{l, is}]++
		}
		t.permitReturned = true
	}
}

const (
	ledgersLock = "SELECT id FROM ledger WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE"
	// permitsChange may insert a negative number for an instant whose row was deleted. No
	// window contains that instant.
	permitsChange = `INSERT INTO permit (ledger, counts_from, many) SELECT l, f, m FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS x(l, f, m) ORDER BY l, f
		ON CONFLICT (ledger, counts_from) DO UPDATE SET many = permit.many + excluded.many`
	// permitsTake takes permits if at most $4 had ever been taken.
	permitsTake  = "UPDATE ledger SET taken = taken + $2, kept = greatest(kept, $3) WHERE id = $1 AND taken <= $4"
	permitsPrune = `DELETE FROM permit WHERE ctid = ANY(ARRAY(SELECT p.ctid FROM ledger l JOIN permit p ON p.ledger = l.id
		WHERE l.id = ANY($1) AND (p.counts_from <= $2 - l.kept OR p.many = 0) FOR UPDATE OF p SKIP LOCKED))`
)

// pruneEvery is how often a process deletes permits whose windows have passed.
const pruneEvery = int64(time.Second / time.Microsecond)

// permitsEnd queues the changes of the ledgers. Many transactions change these rows, so
// the statements are the last ones and lock the rows in one order, until the commit:
// ledgers before rows of permits, because some transactions have locked the ledgers
// before they counted.
func (b *batch) permitsEnd() {
	p := &b.permits
	takes := slices.Sorted(maps.Keys(p.taken))
	for _, id := range takes {
		window, most := int64(0), int64(math.MaxInt64)
		for k, c := range p.counted {
			if k.ledger == id && c.limit > 0 {
				window, most = max(window, k.window), min(most, c.takenEver+c.limit-c.inUse)
			}
		}
		b.queued = append(b.queued, statement{what: "taking permits", sql: one(permitsTake), args: []any{id, p.taken[id], window, most}, onZero: errTaken})
	}
	var ledgers, froms, many []int64
	for _, k := range slices.SortedFunc(maps.Keys(p.changed), func(a, b bucket) int {
		return cmp.Or(cmp.Compare(a.ledger, b.ledger), cmp.Compare(a.from, b.from))
	}) {
		if n := p.changed[k]; n != 0 {
			ledgers, froms, many = append(ledgers, k.ledger), append(froms, k.from), append(many, n)
		}
	}
	if len(ledgers) > 0 {
		b.queue("counting permits", permitsChange, []any{ledgers, froms, many})
	}
	if since := b.now - b.j.permitsForgotten; len(takes) > 0 && (since >= pruneEvery || since < 0) {
		b.j.permitsForgotten = b.now
		b.queue("forgetting permits", permitsPrune, []any{takes, b.now})
	}
}
