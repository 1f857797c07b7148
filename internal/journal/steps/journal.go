package steps

import (
	"context"
	"sync/atomic"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/rows"
)

// A Journal makes the steps over a database. The database's journal type embeds it
// and calls [Journal.Run] in its transactions.
type Journal struct {
	db     Database
	tables tables
	// lists: the database accepts lists of bytes and texts as arguments. Then the rows
	// of a batch are looked up by such keys with one query, else one by one.
	lists         bool
	planner       journal.Planner
	authenticator atomic.Pointer[journal.Authenticator]
	recovery      atomic.Pointer[recovery] // that this process has begun
	keys          atomic.Pointer[registeredKeys]
	kept          keptLetters // the writer's

	changed, outbox, intents chan struct{}
}

// tables are the descriptions of the tables.
type tables struct {
	account, shop, operation, body, attempt, credential, intent              *rows.Table
	outbox, published, pending, event, audit, auditDetail, letter, announced *rows.Table
}

// New returns a journal over a database. Lists reports whether the database accepts
// lists of bytes and texts as arguments. The planner decides what events lead to.
func New(db Database, lists bool, planner journal.Planner) *Journal {
	signal := func() chan struct{} { return make(chan struct{}, 1) }
	return &Journal{db: db, lists: lists, planner: planner, changed: signal(), outbox: signal(), intents: signal(), tables: tables{
		account: rows.TableOf[rows.Account]("account"), shop: rows.TableOf[rows.Shop]("shop"),
		operation: rows.TableOf[rows.Operation]("operation"), body: rows.TableOf[rows.Body]("event"),
		attempt: rows.TableOf[rows.Attempt]("attempt"), credential: rows.TableOf[rows.Credential]("credential"),
		intent: rows.TableOf[rows.Intent]("intent"), outbox: rows.TableOf[rows.Outbox]("outbox"),
		published: rows.TableOf[rows.Published]("outbox"), pending: rows.TableOf[rows.OutboxPending]("outbox_pending"),
		event: rows.TableOf[rows.Event]("event"), audit: rows.TableOf[rows.Audit]("audit"), auditDetail: rows.TableOf[rows.AuditDetail]("audit_detail"),
		announced: rows.TableOf[rows.Announced]("announced"),
		letter:    rows.TableOf[rows.DeadLetter]("dead_letter"),
	}}
}

// Changed is signalled after a commit by which an operation may have become due.
func (j *Journal) Changed() <-chan struct{} { return j.changed }

// OutboxChanged is signalled after a commit that queued an event.
func (j *Journal) OutboxChanged() <-chan struct{} { return j.outbox }

// IntentsChanged is signalled after a commit that wrote one.
func (j *Journal) IntentsChanged() <-chan struct{} { return j.intents }

// Notify signals waiting goroutines.
func (j *Journal) Notify(s Signals) {
	for _, c := range []struct {
		signal bool
		to     chan struct{}
	}{{s.Work, j.changed}, {s.Outbox, j.outbox}, {s.Intents, j.intents}} {
		if c.signal {
			select {
			case c.to <- struct{}{}:
			default:
			}
		}
	}
}

// Authenticate sets the authenticator that makes the MACs of outbox rows.
func (j *Journal) Authenticate(a journal.Authenticator) { j.authenticator.Store(&a) }

// ask runs a request and returns the result of do. The writer owns the result until
// the request is done, so it is not read after an error.
func ask[T any](ctx context.Context, j *Journal, r *Request, do func(*Unit) (T, error)) (T, error) {
	var none T
	got := new(T)
	r.Do = func(u *Unit) (err error) {
		*got, err = do(u)
		return err
	}
	if err := j.db.Write(ctx, r); err != nil {
		return none, err
	}
	return *got, nil
}
