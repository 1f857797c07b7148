package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/steps"
)

// locks are the rows that a transaction locks for its requests.
type locks struct {
	shops, ledgers []int64 // in ascending order
	lockLedgers    bool    // before their permits are counted, not only at the end of the transaction
	invited        map[journal.ShopKey]int64
}

// maxKnown bounds how many shops and operations are cached.
const maxKnown = 20_000

// facts are the columns of an operation that never change.
type facts struct {
	account, shop int64
	kind          journal.Kind
	key           journal.ShopKey
}

// makeRoom removes entries of a cache above its bound. It runs before a transaction
// reads the cache, because the transaction relies on the entries that it has found.
func makeRoom[K comparable, V any](m map[K]V) {
	for k := range m {
		if len(m) <= maxKnown {
			return
		}
		delete(m, k)
	}
}

// prepare runs before the transaction. It finds the ids of the rows to lock, and inserts
// shops and ledgers that are new. These rows have no content, so they do no harm if the
// transaction fails. It returns an error for each request that must not run.
func (j *Journal) prepare(ctx context.Context, conn *pgx.Conn, rs []*request) (l locks, refused []error, err error) {
	makeRoom(j.facts)
	makeRoom(j.shops)
	refused = make([]error, len(rs))
	if err := j.learnOperations(ctx, conn, rs); err != nil {
		return l, nil, err
	}
	if err := j.learnShops(ctx, conn, rs, refused); err != nil {
		return l, nil, err
	}
	if err := j.learnLedgers(ctx, conn, rs); err != nil {
		return l, nil, err
	}
	if l.invited, err = j.openInvitees(ctx, conn, rs); err != nil {
		return l, nil, err
	}
	shops, ledgers := make(map[int64]bool), make(map[int64]bool)
	for i, r := range rs {
		if refused[i] != nil {
			continue
		}
		for _, o := range r.step.Needs.Operations {
			f, ok := j.facts[o]
			if !ok {
				refused[i] = r.step.Needs.Missing
				break
			}
			shops[f.shop] = true
		}
		for _, k := range r.step.Needs.Shops {
			shops[j.shops[k]] = true
		}
		for _, id := range r.step.Needs.ShopIDs {
			shops[id] = true
		}
		for _, k := range r.step.Needs.Invitees {
			if id, ok := l.invited[k]; ok {
				shops[id] = true
			}
		}
		for _, name := range r.step.Needs.Ledgers {
			ledgers[j.ledgers[name]] = true
		}
		l.lockLedgers = l.lockLedgers || r.step.Needs.LockLedgers
	}
	l.shops, l.ledgers = slices.Sorted(maps.Keys(shops)), slices.Sorted(maps.Keys(ledgers))
	return l, refused, nil
}

func (j *Journal) learnOperations(ctx context.Context, conn *pgx.Conn, rs []*request) error {
	var unknown []int64
	for _, r := range rs {
		for _, o := range r.step.Needs.Operations {
			if _, ok := j.facts[o]; !ok {
				unknown = append(unknown, o)
			}
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	return j.look(ctx, conn, `SELECT o.id, o.account, o.shop, o.kind, s.name, a.name FROM operation o JOIN shop s ON s.id = o.shop JOIN account a ON a.id = o.account WHERE o.id = ANY($1)`,
		func(r row) {
			j.accounts[r.text(5)], j.names[r.int(1)] = r.int(1), r.text(5)
			j.facts[r.int(0)] = facts{
				account: r.int(1), shop: r.int(2), kind: journal.Kind(r.int(3)), // #nosec G115 -- our own numbers
				key: journal.ShopKey{Account: r.text(5), Shop: r.text(4)},
			}
		}, unknown)
}

func (j *Journal) learnShops(ctx context.Context, conn *pgx.Conn, rs []*request, refused []error) error {
	unknown := make(map[journal.ShopKey]bool)
	for i, r := range rs {
		for _, k := range r.step.Needs.Shops {
			if _, ok := j.accounts[k.Account]; !ok {
				if err := j.learnAccounts(ctx, conn); err != nil {
					return err
				}
				if _, ok := j.accounts[k.Account]; !ok {
					refused[i] = fmt.Errorf("%w: account %q", journal.ErrNotFound, k.Account)
					break
				}
			}
			if _, ok := j.shops[k]; !ok {
				unknown[k] = true
			}
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	keys := slices.SortedFunc(maps.Keys(unknown), func(a, b journal.ShopKey) int {
		return cmp.Or(cmp.Compare(j.accounts[a.Account], j.accounts[b.Account]), cmp.Compare(a.Shop, b.Shop))
	})
	missing := func() (accounts []int64, names []string) {
		for _, k := range keys {
			if id, ok := j.accounts[k.Account]; ok {
				if _, ok := j.shops[k]; !ok {
					accounts, names = append(accounts, id), append(names, k.Shop)
				}
			}
		}
		return accounts, names
	}
	keep := func(r row) {
		j.shops[journal.ShopKey{Account: j.names[r.int(1)], Shop: r.text(2)}] = r.int(0)
	}
	// The second query finds shops that another replica inserted during the first.
	for range 2 {
		accounts, names := missing()
		if len(names) == 0 {
			break
		}
		if err := j.look(ctx, conn, findShops, keep, accounts, names); err != nil {
			return err
		}
	}
	return nil
}

// floorRead is below the first sequence and the first version of a new shop.
const floorRead = "coalesce((SELECT convert_from(value, 'UTF8')::bigint FROM meta WHERE name = 'floor'), 0)"

// findShops finds shops, and inserts those that are new.
const findShops = `WITH x AS (SELECT * FROM unnest($1::bigint[], $2::text[]) AS x(a, n)),
	found AS (SELECT s.id, x.a, x.n FROM x JOIN shop s ON s.account = x.a AND s.name = x.n),
	made AS (INSERT INTO shop (account, name, sequence, version) SELECT a, n, f, f FROM (SELECT a, n FROM x EXCEPT SELECT a, n FROM found) m, (SELECT ` + floorRead + ` AS f) y
		ORDER BY a, n ON CONFLICT DO NOTHING RETURNING id, account, name)
	SELECT * FROM found UNION ALL SELECT * FROM made`

// openInvitees finds the shops that chose another provider and have something
// to cancel: those with an open invitation or reminders to come, and those whose events or operations
// are in the same transaction.
func (j *Journal) openInvitees(ctx context.Context, conn *pgx.Conn, rs []*request) (map[journal.ShopKey]int64, error) {
	var accounts []int64
	var names []string
	found, looked := make(map[journal.ShopKey]int64), false
	for _, r := range rs {
		for _, k := range r.step.Needs.Shops {
			found[k] = j.shops[k]
		}
		for _, o := range r.step.Needs.Operations {
			if f, ok := j.facts[o]; ok {
				found[f.key] = f.shop
			}
		}
		for _, k := range r.step.Needs.Invitees {
			if _, ok := j.accounts[k.Account]; !ok && !looked {
				looked = true
				if err := j.learnAccounts(ctx, conn); err != nil {
					return nil, err
				}
			}
			if id, ok := j.accounts[k.Account]; ok {
				accounts, names = append(accounts, id), append(names, k.Shop)
			}
		}
	}
	if len(names) == 0 {
		return nil, nil
	}
	err := j.look(ctx, conn, `SELECT s.id, s.account, s.name FROM unnest($1::bigint[], $2::text[]) AS x(a, n) JOIN shop s ON s.account = x.a AND s.name = x.n
		WHERE s.remind_due IS NOT NULL OR EXISTS (SELECT 1 FROM operation o WHERE o.shop = s.id AND o.lane IN (1, 2, 4) AND o.kind = 1)`, func(r row) {
		found[journal.ShopKey{Account: j.names[r.int(1)], Shop: r.text(2)}] = r.int(0)
	}, accounts, names)
	return found, err
}

func (j *Journal) learnLedgers(ctx context.Context, conn *pgx.Conn, rs []*request) error {
	var unknown []string
	for _, r := range rs {
		for _, name := range r.step.Needs.Ledgers {
			if _, ok := j.ledgers[name]; !ok && !slices.Contains(unknown, name) {
				unknown = append(unknown, name)
			}
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	slices.Sort(unknown)
	if err := j.look(ctx, conn, "INSERT INTO ledger (name) SELECT n FROM unnest($1::text[]) AS x(n) ORDER BY n ON CONFLICT DO NOTHING", func(row) {}, unknown); err != nil {
		return err
	}
	return j.look(ctx, conn, "SELECT id, name FROM ledger WHERE name = ANY($1)", func(r row) { j.ledgers[r.text(1)] = r.int(0) }, unknown)
}

func (j *Journal) learnAccounts(ctx context.Context, conn *pgx.Conn) error {
	return j.look(ctx, conn, "SELECT id, name FROM account", func(r row) { j.accounts[r.text(1)], j.names[r.int(0)] = r.int(0), r.text(1) })
}

// look runs one statement on the writer's connection, outside of a transaction.
func (j *Journal) look(ctx context.Context, conn *pgx.Conn, sql string, keep func(row), args ...any) error {
	j.trips.Add(1)
	j.statements.Add(1)
	rows, err := conn.Query(ctx, sql, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		values, err := rows.Values()
		if err != nil {
			return err
		}
		keep(values)
	}
	return rows.Err()
}

// An opening begins the transaction, acquires the locks, and then reads the clock.
type opening struct {
	pgx.Batch
	before time.Time // when it was sent
}

func (b *batch) opening(l locks) *opening {
	b.invited = l.invited
	p := &opening{}
	p.Queue(begin)
	if b.j.plansAreOld() {
		p.Queue("DISCARD PLANS")
	}
	if len(l.shops) > 0 {
		p.Queue("SELECT id FROM shop WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE", l.shops)
	}
	if l.lockLedgers {
		b.permits.lock = l.ledgers
	}
	p.Queue(present, b.j.clock.given())
	return p
}

// read reads the results of an opening. The last one is the clock.
func (o *opening) read(b *batch, results pgx.BatchResults) error {
	var last row
	for range o.Len() {
		r, err := results.Query()
		if err != nil {
			return err
		}
		if err := eachRow(r, func(_ []string, values []any) error {
			last = values
			return nil
		}); err != nil {
			return err
		}
	}
	b.now = last.int(0)
	if err := b.j.follows(last); err != nil {
		return err
	}
	b.j.clock.learn(o.before, b.j.clock.now(), b.now)
	return nil
}

// commit sends the waiting statements and COMMIT in one round trip. Its error wraps
// errTransaction if the server has rejected a statement before COMMIT, so that nothing
// was committed.
func (b *batch) commit(ctx context.Context) error {
	b.j.pulse.next++
	b.queue("counting the commit", pulseInterval, []any{b.j.pulse.process[:], b.j.pulse.next, b.now})
	if b.signals != (steps.Signals{}) || b.permitReturned {
		b.queue("notifying the others", "SELECT pg_notify($1, $2)", []any{b.j.channel, b.j.message(b)})
	}
	// These statements lock rows that all replicas share, in this order: a query may have
	// sent what was added to the outbox before.
	b.sendOutbox()
	b.permitsEnd()
	var p pgx.Batch
	for _, l := range b.queued {
		p.Queue(l.sql, l.args...)
	}
	p.Queue("COMMIT")
	b.j.trips.Add(1)
	b.j.statements.Add(int64(p.Len()))
	growBuffer(b.conn, &p)
	results := b.conn.SendBatch(ctx, &p)
	for i := range p.Len() {
		if _, err := results.Exec(); err != nil {
			_ = results.Close()
			_, refused := errors.AsType[*pgconn.PgError](err)
			if refused && i < len(b.queued) && !b.conn.IsClosed() {
				err = fmt.Errorf("%w: %w", errTransaction, b.queued[i].wrong(err))
			}
			return err
		}
	}
	if err := results.Close(); err != nil {
		return err
	}
	b.j.pulse.acked.Store(b.j.pulse.next)
	return nil
}
